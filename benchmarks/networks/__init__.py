"""Networks that the zoo lacks, and the rows on which predictions are tested against the stopwatch.

Each module is one family, written from its paper with `torch.nn` and the zoo's blocks; each function of it without a
leading underscore returns one network with random weights, scaled so that activations neither vanish nor explode. All
are references that roofline takes where a checkout is: ``benchmarks/networks/resnet.py:resnet18``. Networks for text
take the tokens' vectors, (B, 1, tokens, width), as a reference is given one floating input.

`TEST_ROWS` covers these and the zoo's families, each several times over resolutions and batches, so that a row takes
some 1 to 150 ms on two cores of a server. `TIMM_ROWS` are of other families, one each, as timm has them, where it is
installed. Nothing of any of these families may be in a calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One prediction and one measurement.

    Attributes:
        reference: Of the model; a file's is relative to the checkout.
        family: What a calibration must not have seen, nor any network of the same.
        input_size: Channels, height, width; of a text 1, tokens, width; the usual one of the network if None.
        batch: Inputs a call.
    """

    reference: str
    family: str
    input_size: tuple[int, int, int] | None
    batch: int


# Pixels a side and batch. Of the zoo by family, then by name.
_ZOO: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]] = {
    "mobilenetv1": {"mobilenetv1_100": [(224, 1), (160, 4)], "mobilenetv1_050": [(192, 2)]},
    "mobilenetv2": {"mobilenetv2_100": [(224, 1), (160, 2)], "mobilenetv2_140": [(192, 4)]},
    "mobilenetv3": {"mobilenetv3_large_100": [(224, 1), (256, 2)], "mobilenetv3_small_100": [(224, 4)]},
    "mobilenetv4": {
        "mobilenetv4_conv_small": [(224, 1), (128, 4)],
        "mobilenetv4_conv_medium": [(256, 1)],
        "mobilenetv4_hybrid_medium": [(192, 2)],
    },
    "mobilenet_multi": {"mobilenet_multi_max_100": [(224, 1)], "mobilenet_multi_avg_150": [(160, 2)]},
    "rexnet": {"rexnet_100": [(224, 1), (128, 4)], "rexnet_lite_130": [(192, 1)]},
    "mobileone": {"mobileone_s0": [(224, 1)], "mobileone_s1": [(160, 2)], "mobileone_s4": [(192, 1)]},
    "regnet": {"regnetx_004": [(224, 2)], "regnety_008": [(224, 1)], "regnetx_032": [(192, 1)]},
    "micronet": {"micronet_m1": [(224, 4)], "micronet_m3": [(224, 2), (256, 1)]},
    "efficientvit": {"efficientvit_b0": [(224, 2)], "efficientvit_b1": [(224, 1), (288, 1)]},
    "fastvit": {"fastvit_t8": [(256, 1)], "fastvit_sa12": [(192, 1)], "fastvit_t12": [(160, 2)]},
    "convnext": {"convnext_atto": [(224, 1), (160, 4)], "convnext_nano": [(192, 1)], "convnext_tiny": [(128, 2)]},
}
# The same of this folder, by module, then by function.
_IMAGES: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]] = {
    "alexnet": {"alexnet": [(224, 1), (160, 2), (224, 4)]},
    "vgg": {"vgg11": [(160, 1)], "vgg11_bn": [(128, 2)], "vgg13": [(128, 1)]},
    "resnet": {
        "resnet18": [(224, 1), (160, 4)],
        "resnet34": [(192, 1)],
        "resnet50": [(224, 1), (128, 2)],
        "resnet101": [(160, 1)],
        "wide_resnet50_2": [(128, 1)],
    },
    "resnext": {"resnext26_32x4d": [(192, 1), (128, 4)], "resnext50_32x4d": [(224, 1)]},
    "se_resnet": {"se_resnet18": [(224, 1), (128, 4)], "se_resnet50": [(192, 1)]},
    "densenet": {"densenet121": [(224, 1), (128, 2)], "densenet169": [(160, 1)]},
    "squeezenet": {"squeezenet1_0": [(224, 1)], "squeezenet1_1": [(224, 2), (160, 4)]},
    "googlenet": {"googlenet": [(224, 1), (128, 4), (288, 1)]},
    "inception_v3": {"inception_v3": [(192, 1), (160, 2), (256, 1)]},
    "shufflenet_v2": {
        "shufflenet_v2_x0_5": [(224, 1)],
        "shufflenet_v2_x1_0": [(224, 2), (160, 4)],
        "shufflenet_v2_x2_0": [(192, 1)],
    },
    "mnasnet": {"mnasnet0_5": [(224, 2)], "mnasnet1_0": [(224, 1), (128, 4)], "mnasnet1_4": [(256, 1)]},
    "efficientnet": {
        "efficientnet_b0": [(224, 1), (128, 4)],
        "efficientnet_b2": [(256, 1)],
        "efficientnet_lite0": [(224, 2)],
    },
    "ghostnet": {"ghostnet": [(224, 1), (160, 4), (288, 2)]},
    "xception": {"xception": [(192, 1), (128, 2), (224, 1)]},
    "vit": {
        "deit_tiny": [(224, 1), (224, 4)],
        "deit_tiny_160": [(160, 2)],
        "deit_tiny_288": [(288, 1)],
        "deit_small": [(224, 1)],
        "vit_small_32": [(224, 2)],
        "vit_base_32": [(224, 1)],
    },
    "swin": {"swin_tiny": [(224, 1)], "swin_tiny_128": [(128, 1), (128, 2)], "swin_nano_256": [(256, 1)]},
    "mlp_mixer": {"mixer_s32": [(224, 1), (224, 4)], "mixer_s16": [(224, 1)], "mixer_s16_160": [(160, 2)]},
    "poolformer": {"poolformer_s12": [(224, 1), (128, 2)], "poolformer_s24": [(160, 1)]},
    "convmixer": {"convmixer_256_8": [(224, 1), (128, 4)], "convmixer_1024_20": [(140, 1)]},
    "unet": {"unet_small": [(256, 1), (128, 2)], "unet_medium": [(128, 1)]},
    "repvgg": {
        "repvgg_a0": [(224, 1), (128, 4)],
        "repvgg_a0_train": [(224, 1)],
        "repvgg_a1": [(192, 1)],
        "repvgg_b0": [(160, 2)],
    },
    "mobilevit": {"mobilevit_xxs": [(256, 1), (128, 4)], "mobilevit_xs": [(192, 1)], "mobilevit_s": [(256, 1)]},
    "hrnet": {"hrnet_w18_small": [(224, 1), (128, 2), (256, 1)]},
    "dla": {"dla34": [(224, 1), (128, 2), (160, 1)]},
    "darknet": {"darknet53": [(128, 1), (160, 1), (192, 1)]},
}
# Of networks for text: tokens, width, batch.
_TEXTS: Mapping[str, Mapping[str, Sequence[tuple[int, int, int]]]] = {
    "gpt": {"gpt_mini": [(64, 384, 1), (128, 384, 2)], "gpt2": [(32, 768, 1)]},
    "bert": {"bert_mini": [(128, 256, 1)], "bert_small": [(64, 512, 4)], "bert_base": [(32, 768, 1)]},
    "lstm": {"lstm_256": [(64, 256, 1), (128, 256, 4)], "lstm_512": [(32, 512, 1)]},
}

TEST_ROWS: tuple[Row, ...] = (
    *(
        Row(name, family, (3, side, side), batch)
        for family, networks in _ZOO.items()
        for name, sizes in networks.items()
        for side, batch in sizes
    ),
    *(
        Row(f"benchmarks/networks/{family}.py:{name}", family, (3, side, side), batch)
        for family, networks in _IMAGES.items()
        for name, sizes in networks.items()
        for side, batch in sizes
    ),
    *(
        Row(f"benchmarks/networks/{family}.py:{name}", family, (1, tokens, width), batch)
        for family, networks in _TEXTS.items()
        for name, sizes in networks.items()
        for tokens, width, batch in sizes
    ),
)

_TIMM = (
    "bat_resnext26ts botnet26t_256 caformer_s18 coat_lite_tiny coatnet_nano_rw_224 convnextv2_atto crossvit_tiny_240 "
    "cs3darknet_focus_s cspresnet50 davit_tiny dpn48b eca_halonext26ts eca_nfnet_l0 ecaresnet26t edgenext_x_small "
    "efficientformer_l1 efficientformerv2_s0 ese_vovnet19b_dw fasternet_t0 fbnetc_100 focalnet_tiny_srf gcresnext26ts "
    "gcvit_xxtiny gernet_s ghostnetv2_100 gmixer_12_224 gmlp_ti16_224 halonet26t hardcorenas_c hgnet_tiny hgnetv2_b0 "
    "hiera_tiny_224 inception_next_atto lambda_resnet26t lcnet_100 legacy_seresnext26_32x4d levit_128 mambaout_femto "
    "maxvit_tiny_rw_224 mixnet_s mobilenet_edgetpu_v2_s mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small "
    "nf_regnet_b0 pit_xs_224 poolformerv2_s12 pvt_v2_b0 rdnet_tiny regnetz_b16 repghostnet_100 repvit_m0_9 "
    "res2net50_14w_8s resmlp_12_224 resnest14d resnetv2_50 selecsls42b semnasnet_100 sequencer2d_s shvit_s1 "
    "skresnet18 skresnext50_32x4d spnasnet_100 starnet_s1 swiftformer_xs tf_efficientnetv2_b0 tiny_vit_5m_224 "
    "tinynet_b tnt_s_patch16_224 tresnet_m twins_svt_small visformer_tiny vitamin_small_224 volo_d1_224 "
    "xcit_nano_12_p16_224"
).split()
_TIMM_FRESH = (
    "coatnext_nano_rw_224 convformer_s18 csatv2 cspresnext50 densenetblur121d dpn68 eca_botnext26ts_256 "
    "eva02_tiny_patch14_224 fbnetv3_b gcresnet33ts ghostnetv3_100 haloregnetz_b maxxvit_rmlp_nano_rw_256 "
    "nf_ecaresnet26 regnetv_040 resnetrs50 sebotnet33ts_256 sehalonet33ts seresnext26t_32x4d swinv2_cr_tiny_ns_224"
).split()
# cait_xxs24_224 and convit_tiny were once among these: what they have and no other network had is in the menu now.
TIMM_ROWS: tuple[Row, ...] = tuple(Row(f"timm:{name}", name, None, 1) for name in (*_TIMM, *_TIMM_FRESH))
# Nothing was worked out on these: they were first measured after all of it was.
FRESH: frozenset[str] = frozenset(f"timm:{name}" for name in _TIMM_FRESH)
