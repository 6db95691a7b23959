/* Linear synapses where few inputs spike: cost by the event, not by the weight (engine/kernels/spike_linear.py). */

#include "sparse.h"

#include <stddef.h>

#ifdef __AVX512F__
#include <immintrin.h>

/* 16 values at once; what is written beyond the events found is overwritten by the next ones */
static inline int64_t compress(__m512 v, int32_t first, int32_t *columns, float *values, int32_t *ones)
{
    const __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 found = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const __m512i column = _mm512_add_epi32(number, _mm512_set1_epi32(first));
    if (!found) return 0;
    *ones &= !_mm512_mask_cmp_ps_mask(found, v, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
    _mm512_storeu_si512(columns, _mm512_maskz_compress_epi32(found, column));
    _mm512_storeu_ps(values, _mm512_maskz_compress_ps(found, v));
    return __builtin_popcount(found);
}

static inline int64_t compress_float(const float *x, int32_t first, int32_t *columns, float *values, int32_t *ones)
{
    return compress(_mm512_loadu_ps(x), first, columns, values, ones);
}

static inline int64_t compress_byte(const uint8_t *x, int32_t first, int32_t *columns, float *values, int32_t *ones)
{
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)x));
    return compress(_mm512_cvtepi32_ps(wide), first, columns, values, ones);
}
#endif

#define TYPE uint8_t
#define NAME(x) x##_byte
#ifdef __AVX512F__
#define COMPRESS compress_byte
#endif
#include "events.inc"
#undef TYPE
#undef NAME
#undef COMPRESS

#define TYPE float
#define REAL float
#define NAME(x) x##_float
#ifdef __AVX512F__
#define COMPRESS compress_float
#endif
#include "events.inc"
#undef COMPRESS
#include "sparse.inc"
#include "sparse_conv.inc"
#undef TYPE
#undef REAL
#undef NAME

#define TYPE double
#define REAL double
#define NAME(x) x##_double
#include "events.inc"
#include "sparse.inc"
#include "sparse_conv.inc"

/* Events of all rows, or −1 where they exceed `room` or a value is no float; kind 0: bytes, 1: float, 2: double. */
int64_t spikebit_find_events(int32_t kind, const void *x, int64_t rows, int64_t wide, int64_t room, int64_t *begin,
                             int32_t *count, int32_t *columns, float *values, int32_t *plain)
{
    if (kind == 0) return find_events_byte(x, wide, 0, rows, room, begin, count, columns, values, plain);
    if (kind == 1) return find_events_float(x, wide, 0, rows, room, begin, count, columns, values, plain);
    return find_events_double(x, wide, 0, rows, room, begin, count, columns, values, plain);
}

void spikebit_multiply_rows(int32_t kind, const Events *events, const void *weight, const void *bias, void *out,
                            int64_t wide, int64_t first, int64_t last)
{
    if (kind == 1) multiply_rows_float(events, weight, bias, out, wide, first, last);
    else multiply_rows_double(events, weight, bias, out, wide, first, last);
}

void spikebit_add_outer(int32_t kind, const Events *events, const void *g, void *gradient, int64_t rows, int64_t wide,
                        int64_t first, int64_t last)
{
    if (kind == 1) add_outer_float(events, g, gradient, rows, wide, first, last);
    else add_outer_double(events, g, gradient, rows, wide, first, last);
}

void spikebit_convolve_rows(int32_t kind, const Events *events, const Taps *taps, const void *weight, const void *bias,
                            void *out, int64_t first, int64_t last)
{
    if (kind == 1) convolve_rows_float(events, taps, weight, bias, out, first, last);
    else convolve_rows_double(events, taps, weight, bias, out, first, last);
}

void spikebit_add_taps(int32_t kind, const Events *events, const Taps *taps, const void *g, void *gradient,
                       int64_t first, int64_t last)
{
    if (kind == 1) add_taps_float(events, taps, g, gradient, first, last);
    else add_taps_double(events, taps, g, gradient, first, last);
}
