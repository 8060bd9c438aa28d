"""A bidirectional LSTM that gives each token of a sentence a tag.

Huang et al., "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015, arXiv:1508.01991, without the last layer of
that name; two layers deep. The input is the tokens' vectors, (B, 1, tokens, width), already looked up.
"""

from __future__ import annotations

from torch import Tensor, nn

from roofline.models.blocks import init_weights


class Tagger(nn.Module):
    """LSTM in both directions -> linear layer; (B, 1, tokens, width) -> (B, tokens, tags)."""

    def __init__(self, width: int, hidden: int, *, layers: int = 2, tags: int = 17) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * hidden, tags)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x.squeeze(1))
        y: Tensor = self.classifier(hidden)
        return y


def lstm_256() -> nn.Module:
    return Tagger(256, 256)


def lstm_512() -> nn.Module:
    return Tagger(512, 512)
