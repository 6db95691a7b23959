/* Spikes through weights of random signs that every sample has for itself, one bit a weight (engine/kernels/sign_linear.py). */

#include <stdint.h>
#include <string.h>

#include "mode.h"
#include "sparse.h"

#ifdef __AVX512F__
#include <immintrin.h>

/* 64 outputs of one row stay in registers; the same sums in the same order as the loop below */
static void strip_float(const Events *events, int64_t r, const uint8_t *bits, int64_t bytes, float *to)
{
    const int32_t *column = events->columns + events->begin[r];
    const float *value = events->values ? events->values + events->begin[r] : NULL;
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int32_t e = 0; e < events->count[r]; e++) {
        const __m512 x = _mm512_set1_ps(value ? value[e] : 1.0f);
        uint64_t plus;
        memcpy(&plus, bits + column[e] * bytes, 8);
        for (int k = 0; k < 4; k++)
            s[k] = _mm512_mask_add_ps(_mm512_sub_ps(s[k], x), (__mmask16)(plus >> 16 * k), s[k], x);
    }
    for (int k = 0; k < 4; k++) _mm512_storeu_ps(to + 16 * k, s[k]);
}
#define STRIPS(real) (sizeof(real) == sizeof(float))
#else
static void strip_float(const Events *events, int64_t r, const uint8_t *bits, int64_t bytes, float *to)
{
    (void)events, (void)r, (void)bits, (void)bytes, (void)to;
}
#define STRIPS(real) 0
#endif

static const int8_t SIGN[2] = {-1, 1};

#define ADD(real)                                                                                                    \
    do {                                                                                                             \
        for (int64_t s = first; s < last; s++)                                                                       \
            for (int64_t t = 0; t < steps; t++) {                                                                    \
                const int64_t r = t * batch + s;                                                                     \
                const int32_t *column = events->columns + events->begin[r];                                          \
                const float *value = events->values ? events->values + events->begin[r] : NULL;                      \
                const uint8_t *own = bits + s * wide * bytes;                                                        \
                real *to = (real *)sums + (s * steps + t) * out;                                                     \
                int64_t left = 0;                                                                                    \
                if (STRIPS(real))                                                                                    \
                    for (; left + 64 <= out; left += 64)                                                             \
                        strip_float(events, r, own + left / 8, bytes, (float *)(void *)to + left);                   \
                memset(to + left, 0, (out - left) * sizeof(real));                                                   \
                for (int32_t e = 0; e < events->count[r] && left < out; e++) {                                       \
                    const real x = value ? value[e] : 1;                                                             \
                    const uint8_t *plus = own + column[e] * bytes;                                                   \
                    for (int64_t k = left; k < out; k++) to[k] += x * SIGN[plus[k / 8] >> k % 8 & 1];                \
                }                                                                                                    \
            }                                                                                                        \
    } while (0)

/* sums [sample, step, out] of the samples first..last−1; events of rows [step·batch] with `wide` columns; bits
 * [sample, column, byte], bit k of byte j the sign of output 8j + k: 1 is plus. kind 1: float, 2: double. */
void spikebit_add_signs(int32_t kind, const Events *events, const uint8_t *bits, void *sums, int64_t steps, int64_t batch,
                        int64_t wide, int64_t out, uint32_t mode, int64_t first, int64_t last)
{
    const int64_t bytes = (out + 7) / 8;
    const uint32_t before = set_mode(mode);
    if (kind == 1) ADD(float);
    else ADD(double);
    set_mode(before);
}
