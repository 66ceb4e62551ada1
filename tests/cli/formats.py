"""Decoders of ggml's block formats in numpy, written from docs/formats.md and from nothing else.

    DECODERS["q4_k"](blocks)   # uint8 [n, bytes of a block] -> float64 [n, weights of a block]

The lattice types are left out: their tables of points are ggml's own.
"""
import numpy as np

UNEVEN = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])
W32, W64, W128, W256 = (np.arange(n) for n in (32, 64, 128, 256))


def f16(b, at):
    return b[:, at:at + 2].copy().view("<f2").astype(np.float64)


def lo(q):
    return (q & 15).astype(int)


def hi(q):
    return (q >> 4).astype(int)


def halves(q):
    """Numbers j in the lower halves, numbers j + 16 in the upper ones."""
    return np.concatenate([lo(q), hi(q)], axis=1)


def bit(v, i):
    return (v >> i & 1).astype(int)


def q8_0(b):
    return f16(b, 0) * b[:, 2:].view(np.int8)


def q4_0(b):
    return f16(b, 0) * (halves(b[:, 2:]) - 8)


def q4_1(b):
    return f16(b, 0) * halves(b[:, 4:]) + f16(b, 2)


def fifth(h):
    return 16 * bit(h.copy().view("<u4"), W32.astype(np.uint32))


def q5_0(b):
    return f16(b, 0) * (halves(b[:, 6:]) + fifth(b[:, 2:6]) - 16)


def q5_1(b):
    return f16(b, 0) * (halves(b[:, 8:]) + fifth(b[:, 4:8])) + f16(b, 2)


def q1_0(b):
    return f16(b, 0) * (2 * bit(b[:, 2:][:, W128 // 8], (W128 % 8).astype(np.uint8)) - 1)


def q2_0(b):
    return f16(b, 0) * ((b[:, 2:][:, W64 // 4] >> (2 * (W64 % 4)).astype(np.uint8) & 3).astype(int) - 1)


def two_bits(q):
    shift = (2 * (W256 % 128 // 32)).astype(np.uint8)
    return (q[:, 32 * (W256 // 128) + W256 % 32] >> shift & 3).astype(int)


def q2_k(b):
    part = W256 // 16
    scale, least = lo(b[:, part]), hi(b[:, part])
    return f16(b, 80) * scale * two_bits(b[:, 16:80]) - f16(b, 82) * least


def q3_k(b):
    third = bit(b[:, :32][:, W256 % 32], (W256 // 32).astype(np.uint8))
    s = b[:, 96:108]
    p = np.arange(16)
    lower = np.where(p < 8, lo(s[:, p % 8]), hi(s[:, p % 8]))
    upper = (s[:, 8 + p % 4] >> (2 * (p // 4)).astype(np.uint8) & 3).astype(int)
    scale = (lower + 16 * upper)[:, W256 // 16]
    return f16(b, 108) * (scale - 32) * (two_bits(b[:, 32:96]) + 4 * third - 4)


def scales_and_minima(s):
    s = s.astype(int)
    low, high = np.arange(4), np.arange(4, 8)
    scale = np.concatenate([s[:, low] & 63, (s[:, high + 4] & 15) + 16 * (s[:, high - 4] >> 6)], axis=1)
    least = np.concatenate([s[:, low + 4] & 63, (s[:, high + 4] >> 4) + 16 * (s[:, high] >> 6)], axis=1)
    return scale[:, W256 // 32], least[:, W256 // 32]


def four_bits(q):
    byte = q[:, 32 * (W256 // 64) + W256 % 32]
    return np.where(W256 % 64 < 32, lo(byte), hi(byte))


def q4_k(b):
    scale, least = scales_and_minima(b[:, 4:16])
    return f16(b, 0) * scale * four_bits(b[:, 16:]) - f16(b, 2) * least


def q5_k(b):
    scale, least = scales_and_minima(b[:, 4:16])
    number = four_bits(b[:, 48:]) + 16 * bit(b[:, 16:48][:, W256 % 32], (W256 // 32).astype(np.uint8))
    return f16(b, 0) * scale * number - f16(b, 2) * least


def q6_k(b):
    n, r = W256 // 128, W256 % 128
    byte = b[:, :128][:, 64 * n + r % 64]
    lower = np.where(r < 64, lo(byte), hi(byte))
    upper = (b[:, 128:192][:, 32 * n + r % 32] >> (2 * (r // 32)).astype(np.uint8) & 3).astype(int)
    return f16(b, 208) * b[:, 192:208].view(np.int8)[:, W256 // 16] * (lower + 16 * upper - 32)


def iq4_nl(b):
    return f16(b, 0) * UNEVEN[halves(b[:, 2:])]


def iq4_xs(b):
    p = np.arange(8)
    upper = (b[:, 2:4].copy().view("<u2") >> (2 * p).astype(np.uint16) & 3).astype(int)
    s = b[:, 4:8][:, p // 2]
    scale = (np.where(p % 2 == 0, lo(s), hi(s)) + 16 * upper)[:, W256 // 32]
    byte = b[:, 8:][:, 16 * (W256 // 32) + W256 % 16]
    return f16(b, 0) * (scale - 32) * UNEVEN[np.where(W256 % 32 < 16, lo(byte), hi(byte))]


def mxfp4(b):
    return np.exp2(b[:, :1].astype(float) - 128) * E2M1[halves(b[:, 1:])]


def nvfp4(b):
    d = b[:, :4].astype(int)
    scale = np.where(d // 8 == 0, d * 2.0 ** -10, (1 + d % 8 / 8.0) * np.exp2(d // 8 - 8.0))
    scale = np.where((d == 0) | (d == 127), 0, scale)[:, W64 // 16]
    byte = b[:, 4:][:, 8 * (W64 // 16) + W64 % 8]
    return scale * E2M1[np.where(W64 % 16 < 8, lo(byte), hi(byte))]


def tq1_0(b):
    def digits(q, count):
        return np.concatenate([3 * (q.astype(int) * 3 ** n % 256) // 256 for n in range(count)], axis=1)

    digit = np.concatenate([digits(b[:, :32], 5), digits(b[:, 32:48], 5), digits(b[:, 48:52], 4)], axis=1)
    return f16(b, 52) * (digit - 1)


def tq2_0(b):
    return f16(b, 64) * (two_bits(b[:, :64]) - 1)


DECODERS = {f.__name__: f for f in (q8_0, q4_0, q4_1, q5_0, q5_1, q1_0, q2_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl,
                                    iq4_xs, mxfp4, nvfp4, tq1_0, tq2_0)}
