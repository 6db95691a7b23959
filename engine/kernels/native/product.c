/* Dense products of float rows with weights packed once, for linear maps and convolutions alike (engine/kernels/product.py).
 *
 * An output place sums `taps` stretches of `deep` values, each through its part of the weights. ROWS rows meet PANEL
 * outputs at a time: their sums stay in registers from the first value to the last. */

#include "fill.h"

#include <stdlib.h>

#include "mode.h"

#ifdef __AVX512F__
#include <immintrin.h>

enum { ROWS = 12, PANEL = 32 };

typedef struct {
    const float *from[ROWS]; /* of every row; rows that are not there repeat another */
} Stretch;

/* sums[row, 0..31] of a block of rows, through all taps */
static __attribute__((noinline)) void multiply(const Stretch *stretches, const float *weight, int64_t taps,
                                                           int64_t deep, __m512 sums[ROWS][2])
{
    __m512 sum[ROWS][2]; /* in registers: every loop over rows is unrolled */
    for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (int64_t tap = 0; tap < taps; tap++) {
        const float *from[ROWS];
        for (int r = 0; r < ROWS; r++) from[r] = stretches[tap].from[r];
        for (int64_t k = 0; k < deep; k++, weight += PANEL) {
            const __m512 left = _mm512_loadu_ps(weight), right = _mm512_loadu_ps(weight + 16);
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++) {
                const __m512 x = _mm512_set1_ps(from[r][k]);
                sum[r][0] = _mm512_fmadd_ps(x, left, sum[r][0]);
                sum[r][1] = _mm512_fmadd_ps(x, right, sum[r][1]);
            }
        }
    }
    for (int r = 0; r < ROWS; r++) sums[r][0] = sum[r][0], sums[r][1] = sum[r][1];
}

typedef struct { /* the row that comes next */
    int64_t sample, step, place;
} Row;

/* Where the stretches of a block's rows begin; the rows after the last one repeat it */
static void find(const ProductFill *p, Row *row, int64_t last, const float *zeros, Stretch *stretches)
{
    const int64_t ahead = 1 + ROWS / p->places;
    for (int64_t r = 0; r < ROWS; r++) {
        const float *from = p->source + (row->step * p->batch + row->sample) * p->wide;
        const int32_t *offset = p->offsets + row->place;
        for (int64_t tap = 0; tap < p->taps; tap++, offset += p->places)
            stretches[tap].from[r] = *offset < 0 ? zeros : from + *offset;
        if (++row->place < p->places) continue;
        row->place = 0;
        if (row->step + ahead < p->steps) { /* hidden behind the sums of the present rows */
            const float *later = p->source + ((row->step + ahead) * p->batch + row->sample) * p->wide;
            for (int64_t k = 0; k < p->wide; k += 16) _mm_prefetch((const char *)(later + k), _MM_HINT_T1);
        }
        if (++row->step < p->steps) continue;
        row->step = 0;
        if (row->sample + 1 < last) row->sample++;
        else row->step = p->steps - 1, row->place = p->places - 1;
    }
}

static void fill(const ProductFill *p, Stretch *stretches, const float *zeros, int64_t first, int64_t last, float *to)
{
    const int64_t rows = (last - first) * p->steps * p->places;
    Row next = {first, 0, 0};
    for (int64_t row = 0; row < rows; row += ROWS) {
        find(p, &next, last, zeros, stretches);
        for (int64_t left = 0; left < p->out; left += PANEL) {
            __m512 sums[ROWS][2];
            multiply(stretches, p->panels + left * p->taps * p->deep, p->taps, p->deep, sums);
            const int64_t wide = p->out - left < PANEL ? p->out - left : PANEL;
            const __mmask16 some = wide >= 16 ? 0xffff : (__mmask16)((1u << wide) - 1);
            const __mmask16 more = wide >= PANEL ? 0xffff : wide > 16 ? (__mmask16)((1u << (wide - 16)) - 1) : 0;
            for (int64_t r = 0; r < ROWS && row + r < rows; r++) {
                float *sum = to + (row + r) * p->out + left;
                _mm512_mask_storeu_ps(sum, some, sums[r][0]);
                if (more) _mm512_mask_storeu_ps(sum + 16, more, sums[r][1]);
            }
        }
    }
}

int32_t spikebit_product_rows(void) { return ROWS; }

int spikebit_fill_products(const void *context, int64_t first, int64_t last, void *to)
{
    const ProductFill *p = context;
    const uint32_t before = set_mode(p->mode);
    Stretch *stretches = malloc((size_t)p->taps * sizeof(Stretch));
    float *zeros = calloc((size_t)p->deep, sizeof(float));
    const int failed = !stretches || !zeros;
    if (!failed) fill(p, stretches, zeros, first, last, to);
    free(stretches);
    free(zeros);
    set_mode(before);
    return failed;
}
#else
int32_t spikebit_product_rows(void) { return 0; } /* not built: torch's product is as quick */

int spikebit_fill_products(const void *context, int64_t first, int64_t last, void *to)
{
    (void)context, (void)first, (void)last, (void)to;
    return 1;
}
#endif
