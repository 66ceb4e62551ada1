/* exp and ln whose last bit is the same on every CPU, which the C library's are not: it picks code by the CPU.
 *
 * Enters: finite doubles. Leaves: the value within 1e-15 of itself (a test compares with long double).
 * Invariants: IEEE additions, multiplications and divisions in a fixed order, nothing contracted (-ffp-contract=off);
 * loops over lq_exp vectorise.
 */
#ifndef LQ_BASE_PORTABLE_MATH_H
#define LQ_BASE_PORTABLE_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* For x in -708 .. 709: 2^k exp(r), k the whole number next to x / ln 2, exp(r) by its series for |r| < 0.35. */
static inline double lq_exp(double x)
{
    static const double to_whole = 0x1.8p52; /* added, it leaves the whole number in the low bits */
    double shifted = x * 0x1.71547652b82fep0 + to_whole, k = shifted - to_whole, result;
    double r = x - k * 0x1.62e42fee00000p-1 - k * 0x1.a39ef35793c76p-33; /* ln 2 in two parts */
    double even = 1.0 / 479001600, odd = 1.0 / 6227020800, s = r * r;    /* 1/12!, 1/13! */
    uint64_t power, bits;
    even = even * s + 1.0 / 3628800, odd = odd * s + 1.0 / 39916800;
    even = even * s + 1.0 / 40320, odd = odd * s + 1.0 / 362880;
    even = even * s + 1.0 / 720, odd = odd * s + 1.0 / 5040;
    even = even * s + 1.0 / 24, odd = odd * s + 1.0 / 120;
    even = even * s + 1.0 / 2, odd = odd * s + 1.0 / 6;
    result = 1 + (r + (s * even + r * s * odd));
    memcpy(&power, &shifted, sizeof power);
    memcpy(&bits, &result, sizeof bits);
    bits += power << 52;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* For x > 0, normal: ln(2^k m) = k ln 2 + 2 artanh((m - 1) / (m + 1)), m in 0.7 .. 1.42, by its series. */
static inline double lq_log(double x)
{
    int k;
    double m = frexp(x, &k);
    if (m < 0x1.6a09e667f3bcdp-1) m *= 2, k--; /* sqrt(1/2) */
    double z = (m - 1) / (m + 1), s = z * z, sum = 0;
    for (int i = 21; i >= 3; i -= 2) sum = (sum + 1.0 / i) * s;
    return k * 0x1.62e42fee00000p-1 + (k * 0x1.a39ef35793c76p-33 + (2 * z + 2 * z * sum));
}

#endif
