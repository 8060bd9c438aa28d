"""Work per element of what is no MAC: activations, norms, softmax, reductions, elementwise ops.

    add, subtract, multiply, compare, select, abs, negate   1
    divide, square root                                     4
    exp, log, erf, sine and the like                        8

These are the weights of the Livermore Fortran Kernels (F. H. McMahon, UCRL-53745, 1986). The f32 sigmoid kernel of
XNNPACK ("rr2-p5") spends 11 multiply-adds on its exp, so 8 is the right size on today's vector units too. Costs of
composed functions are their formulas written out in these weights.
"""

from __future__ import annotations

from collections.abc import Mapping

DIV = SQRT = 4
EXP = LOG = ERF = 8
SIGMOID = 1 + EXP + 1 + DIV  # 1 / (1 + exp(-x))
TANH = 1 + EXP + 1 + 1 + DIV  # (1 - e) / (1 + e), e = exp(-2x)
SOFTPLUS = EXP + 1 + LOG  # log(1 + exp(x))
COMPLEX_PRODUCT = 6  # (a + bi)(c + di): 4 multiplications, 2 additions
COMPLEX_MAGNITUDE = 3 + SQRT  # sqrt(a^2 + b^2)
# Of a complex fast Fourier transform of n points in all, times n log2 n: what radix 2 takes, and the nominal operation
# count of Frigo & Johnson, "The Design and Implementation of FFTW3", Proc. IEEE 93(2), 2005.
FFT_PER_POINT = 5

ACTIVATIONS: Mapping[str, int] = {
    "relu": 1,  # max
    "relu6": 2,  # max, min
    "hardtanh": 2,
    "leaky_relu": 2,  # multiply, max
    "prelu": 2,
    "hardsigmoid": 4,  # min(max(x + 3, 0), 6) / 6, by a constant: multiply
    "hardswish": 5,  # x * hardsigmoid(x)
    "sigmoid": SIGMOID,
    "silu": SIGMOID + 1,
    "tanh": TANH,
    "gelu": ERF + 4,  # x/2 (1 + erf(x / sqrt 2)), divisions by constants are multiplications
    "gelu_tanh": TANH + 8,  # x/2 (1 + tanh(k (x + c x^3)))
    "elu": EXP + 3,  # exp, subtract, multiply, select
    "selu": EXP + 4,
    "celu": EXP + 4,
    "softplus": SOFTPLUS,
    "mish": SOFTPLUS + TANH + 1,
    "log_sigmoid": 2 + SOFTPLUS,
    "softsign": 2 + DIV,
    "hardshrink": 2,
    "softshrink": 3,
    "threshold": 2,
    "glu": SIGMOID + 1,
}
ELEMENTWISE: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "add sub rsub mul neg abs sign maximum minimum fmax fmin eq ne lt le gt ge where masked_fill "
            "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor floor "
            "ceil round trunc clamp_min clamp_max square positive isnan isinf isfinite sgn heaviside copysign "
            "signbit __and__ __or__ __xor__ __lshift__ __rshift__ bitwise_left_shift bitwise_right_shift"
        ).split(),
        1,
    ),
    **dict.fromkeys(["clamp", "lerp", "frac", "nan_to_num", "addcmul"], 2),
    **dict.fromkeys(["div", "true_divide", "reciprocal", "sqrt", "floor_divide", "remainder", "fmod"], DIV),
    **dict.fromkeys("exp exp2 expm1 log log2 log10 log1p erf erfc erfinv sin cos tan asin acos atan".split(), EXP),
    **dict.fromkeys("sinh cosh asinh acosh atanh atan2 logaddexp lgamma digamma xlogy polar angle".split(), EXP),
    "rsqrt": SQRT + DIV,
    "addcdiv": DIV + 2,
    "pow": LOG + 1 + EXP,
    "float_power": LOG + 1 + EXP,
    # round(x / scale) + zero point, clamped, and back; 1 / scale is made beforehand
    "fake_quantize_per_tensor_affine": 7,
    "fake_quantize_per_channel_affine": 7,
    "logit": DIV + LOG + 1,
    "hypot": 3 + SQRT,
}
REDUCTIONS: Mapping[str, int] = {  # per element read
    **dict.fromkeys(
        (
            "sum mean amax amin max min argmax argmin prod any all cumsum cumprod cummax cummin count_nonzero "
            "nansum median mode aminmax trace"
        ).split(),
        1,
    ),
    "norm": 2,
    "linalg_vector_norm": 2,
    "histc": 3,  # subtract, multiply, add to a bin
    "var": 4,  # mean, subtract, square, add
    "std": 4,
    "var_mean": 4,
    "std_mean": 4,
    "logsumexp": EXP + 3,
    "sort": 1,  # a compare at least; its passes depend on the data
    "topk": 1,
    "argsort": 1,
    "unique": 1,
}
NORMS: Mapping[str, int] = {
    "batch_norm": 2,  # folded to one multiply and one add per element in eval mode
    "layer_norm": 8,  # mean 1, variance 3, normalise 2, affine 2
    "group_norm": 8,
    "instance_norm": 8,
    "rms_norm": 4,  # square, add, multiply, affine
}
SOFTMAXES: Mapping[str, int] = {"softmax": 1 + 1 + EXP + 1 + DIV, "log_softmax": 1 + 1 + EXP + 1 + 1}
VECTOR_OPS_PER_ELEMENT: Mapping[str, Mapping[str, int]] = {
    "activation": ACTIVATIONS,
    "elementwise": ELEMENTWISE,
    "reduce": REDUCTIONS,
    "norm": NORMS,
    "softmax": SOFTMAXES,
}
RECURRENT_OPS: Mapping[str, int] = {  # per hidden unit and step, over sums of W x and W h, biases in the accumulators
    "lstm": 4 + 3 * SIGMOID + 2 * TANH + 4,  # f c + i g, o tanh(c)
    "gru": 2 + 2 * SIGMOID + 2 + TANH + 4,  # n = tanh(W x + r W h), (1 - z) n + z h
    "rnn_tanh": 1 + TANH,
    "rnn_relu": 1 + 1,
}
