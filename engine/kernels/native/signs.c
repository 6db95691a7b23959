/* Spikes through weights of random signs that every sample has for itself, one bit a weight (engine/kernels/sign_linear.py). */

#include <stdint.h>
#include <string.h>

#include "fill.h"
#include "mode.h"

#ifdef __AVX512F__
#include <immintrin.h>

/* 64 outputs of one row stay in registers: twice what has a plus, less everything */
static void strip_float(const Events *events, int64_t r, const uint8_t *bits, int64_t bytes, float *to)
{
    const int32_t *column = events->columns + events->begin[r];
    const float *value = events->values ? events->values + events->begin[r] : NULL;
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    float all = 0;
    for (int32_t e = 0; e < events->count[r]; e++) {
        const float one = value ? value[e] : 1;
        const __m512 twice = _mm512_set1_ps(2 * one);
        uint64_t plus;
        memcpy(&plus, bits + column[e] * bytes, 8);
        all += one;
        for (int k = 0; k < 4; k++) s[k] = _mm512_mask_add_ps(s[k], (__mmask16)(plus >> 16 * k), s[k], twice);
    }
    for (int k = 0; k < 4; k++) _mm512_storeu_ps(to + 16 * k, _mm512_sub_ps(s[k], _mm512_set1_ps(all)));
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
                real *to = (real *)sums + ((s - first) * steps + t) * out;                                           \
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

/* Bits [sample, column, byte]: bit k of byte j is the sign of output 8j + k, 1 is plus. */
int spikebit_fill_signs(const void *context, int64_t first, int64_t last, void *sums)
{
    const SignFill *f = context;
    const Events *events = f->events;
    const uint8_t *bits = f->bits;
    const int64_t steps = f->steps, batch = f->batch, wide = f->wide, out = f->out, bytes = (out + 7) / 8;
    const uint32_t before = set_mode(f->mode);
    if (f->kind == 1) ADD(float);
    else ADD(double);
    set_mode(before);
    return 0;
}
