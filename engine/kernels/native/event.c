/* Integer programs, event by event: the runner of engine/program/events.py. docs/program.md gives every rule.
 *
 * A layer runs all its steps, sample after sample. Events (source neuron, value) add rows of weights; a row's place and
 * target come from a table of taps, so linear maps, convolutions and pools are one loop. Everything is exact: the
 * caller has proved that sums fit 32 bits (16 where `narrow`). Vectors are the compiler's own; one source, every level. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum { TILE = 512, FLUSH = 250, SLACK = 16 }; /* 250 rows of at most 127 fit 16 bits */

typedef struct {
    const int64_t *begin, *end; /* [sample, step]: where a step's events lie */
    const int32_t *index;       /* source neuron */
    const int32_t *value;       /* null: all are 1 */
} Events;

typedef struct {
    Events events;
    const int64_t *tap_begin;               /* [source neurons + 1] */
    const int32_t *tap_weight, *tap_target; /* first weight, first neuron of a tap */
    const void *weights;
    const int32_t *shift; /* [neurons]: exponent + fraction bits */
    int64_t width;        /* weights of a tap */
    int32_t wide_weights; /* 0: int8, 1: int16 */
    int32_t rows;         /* every source neuron has one tap, over all (padded) neurons */
    int32_t narrow;       /* sums fit int16 */
    int32_t self;         /* the source is the layer itself */
    int32_t late;         /* steps */
} Link;

typedef struct {
    int32_t kind; /* 0 none, 1 shift, 2 multiply and shift */
    int32_t rounding; /* 0 floor, 1 toward zero, 2 half up */
    int32_t bits;
    const int32_t *values; /* [neurons] */
} Leak;

typedef struct {
    int64_t steps, neurons, padded;
    const Link *links;
    int64_t link_count;
    Leak leak_v, leak_i;
    int32_t has_current, current_old, fires, reset, late, before_leak, drops, max_spikes, readout, reads, low, high;
    int32_t positive; /* every reset_sub is at least 0 */
    const int32_t *bias, *bias_i, *fire_at, *reset_sub, *reset_to, *floor, *start; /* [padded] or null */
    int64_t *begin, *end; /* [sample, step] of this layer's events */
    int32_t *index, *value; /* sample s writes from s·(steps·neurons + SLACK) on; value may be null */
    int32_t *final_v, *final_i, *final_n; /* [sample, neurons] */
    int64_t *read; /* [sample, neurons] or null */
} Layer;

void spikebit_event_sizes(int64_t *sizes)
{
    sizes[0] = sizeof(Link);
    sizes[1] = sizeof(Layer);
}

#define LOOP for (int64_t j = 0; j < count; ++j)

#if defined(__AVX512BW__)
enum { VECTOR = 64 };
#elif defined(__AVX2__)
enum { VECTOR = 32 };
#else
enum { VECTOR = 16 };
#endif
typedef int16_t Wide __attribute__((vector_size(VECTOR)));
typedef int8_t Narrow __attribute__((vector_size(VECTOR / 2)));
enum { LANES = VECTOR / 2, BLOCK = 8 * LANES };

/* Rows of int8 weights over COUNT·LANES neurons: sums stay in registers of int16 until they could overflow. */
#define ADD_BLOCK(NAME, COUNT)                                                                                         \
    static void NAME(const int8_t *weights, int64_t stride, const int32_t *index, int64_t events, int32_t *sums)       \
    {                                                                                                                  \
        for (int64_t first = 0; first < events; first += FLUSH) {                                                      \
            const int64_t last = first + FLUSH < events ? first + FLUSH : events;                                      \
            Wide a[COUNT];                                                                                             \
            int16_t flat[COUNT * LANES];                                                                               \
            memset(a, 0, sizeof a);                                                                                    \
            for (int64_t k = first; k < last; ++k) {                                                                   \
                const int8_t *row = weights + (int64_t)index[k] * stride;                                              \
                UNROLL for (int b = 0; b < COUNT; ++b) {                                                               \
                    Narrow w;                                                                                          \
                    memcpy(&w, row + b * LANES, sizeof w);                                                             \
                    a[b] += __builtin_convertvector(w, Wide);                                                          \
                }                                                                                                      \
            }                                                                                                          \
            memcpy(flat, a, sizeof flat);                                                                              \
            for (int64_t j = 0; j < COUNT * LANES; ++j) sums[j] += flat[j];                                            \
        }                                                                                                              \
    }
#define UNROLL _Pragma("GCC unroll 8")
ADD_BLOCK(add_block, 8)
enum { SMALL = 64 / LANES }; /* neurons are padded to 64 */
ADD_BLOCK(add_small, SMALL)

static void add_rows(const Link *link, int64_t padded, const int32_t *index, int64_t events, int32_t *restrict sums)
{
    int64_t done = 0;
    if (!link->wide_weights)
        for (; done + BLOCK <= padded; done += BLOCK)
            add_block((const int8_t *)link->weights + done, padded, index, events, sums + done);
    if (!link->wide_weights)
        for (; done + 64 <= padded; done += 64)
            add_small((const int8_t *)link->weights + done, padded, index, events, sums + done);
    for (int64_t k = 0; k < events && done < padded; ++k) {
        int64_t at = (int64_t)index[k] * padded;
        if (link->wide_weights) {
            const int16_t *restrict row = (const int16_t *)link->weights + at;
            for (int64_t j = done; j < padded; ++j) sums[j] += row[j];
        } else {
            const int8_t *restrict row = (const int8_t *)link->weights + at;
            for (int64_t j = done; j < padded; ++j) sums[j] += row[j];
        }
    }
}

#define ADD_TAPS(SUM, WEIGHT, FACTOR)                                                                                  \
    for (int64_t k = 0; k < events; ++k) {                                                                             \
        const int32_t x = value ? value[k] : 1;                                                                        \
        (void)x;                                                                                                       \
        for (int64_t tap = link->tap_begin[index[k]]; tap < link->tap_begin[index[k] + 1]; ++tap) {                    \
            const WEIGHT *restrict row = (const WEIGHT *)link->weights + link->tap_weight[tap];                        \
            SUM *restrict to = (SUM *)sums + link->tap_target[tap];                                                    \
            int64_t j = 0;                                                                                             \
            for (; j + 16 <= width; j += 16)                                                                           \
                for (int q = 0; q < 16; ++q) to[j + q] = (SUM)(to[j + q] + row[j + q] FACTOR);                         \
            for (; j < width; ++j) to[j] = (SUM)(to[j] + row[j] FACTOR);                                               \
        }                                                                                                              \
    }

static void add_taps(const Link *link, const int32_t *index, const int32_t *value, int64_t events, void *sums)
{
    const int64_t width = link->width;
    if (link->narrow) { /* then all values are 1 and weights are int8 */
        ADD_TAPS(int16_t, int8_t, )
    } else if (link->wide_weights) {
        ADD_TAPS(int32_t, int16_t, *x)
    } else {
        ADD_TAPS(int32_t, int8_t, *x)
    }
}

static void gather(const Layer *la, int64_t sample, int64_t t, int32_t *restrict acc, int32_t *restrict sums)
{
    memset(acc, 0, (size_t)la->padded * sizeof *acc);
    for (int64_t l = 0; l < la->link_count; ++l) {
        const Link *link = la->links + l;
        const int64_t then = t - link->late, count = la->neurons;
        if (then < 0) continue;
        const Events *e = &link->events;
        const int64_t at = sample * la->steps + then, from = e->begin[at], events = e->end[at] - from;
        if (!events) continue;
        const int32_t *index = e->index + from, *value = e->value ? e->value + from : NULL;
        const int32_t *restrict shift = link->shift;
        memset(sums, 0, (size_t)la->padded * sizeof *sums);
        if (link->rows && !value)
            add_rows(link, la->padded, index, events, sums);
        else
            add_taps(link, index, value, events, sums);
        if (link->narrow && !(link->rows && !value)) {
            const int16_t *restrict narrow = (const int16_t *)sums;
            LOOP acc[j] += (int32_t)((uint32_t)narrow[j] << shift[j]); /* unsigned: a product with 2^shift */
        } else {
            LOOP acc[j] += (int32_t)((uint32_t)sums[j] << shift[j]);
        }
    }
}

static inline int32_t divided(int32_t s, int32_t b, int32_t rounding)
{
    if (rounding == 0) return s >> b; /* arithmetic, as every compiler that knows vector_size does */
    if (rounding == 1) return s < 0 ? -(-s >> b) : s >> b;
    return (s + (((int32_t)1 << b) >> 1)) >> b;
}

#define LEAKED(EXPRESSION)                                                                                             \
    if (leak->rounding == 0) { const int32_t r = 0; LOOP { EXPRESSION; } }                                             \
    else if (leak->rounding == 1) { const int32_t r = 1; LOOP { EXPRESSION; } }                                        \
    else { const int32_t r = 2; LOOP { EXPRESSION; } }

static void leaked(const Leak *leak, int64_t first, int64_t count, int32_t *restrict s)
{
    if (leak->kind == 0) return;
    const int32_t *restrict m = leak->values + first;
    const int32_t b = leak->bits;
    if (leak->kind == 1) {
        LEAKED(s[j] -= divided(s[j], m[j], r))
    } else {
        LEAKED(s[j] = divided(m[j] * s[j], b, r))
    }
}

static void reset_by(const Layer *la, int64_t first, int64_t count, int32_t *restrict v, const int32_t *restrict n)
{
    if (la->reset == 1) {
        const int32_t *restrict sub = la->reset_sub + first;
        if (la->max_spikes == 1) LOOP v[j] -= n[j] > 0 ? sub[j] : 0;
        else LOOP v[j] -= n[j] * sub[j];
    } else if (la->reset == 2) {
        const int32_t *restrict to = la->reset_to + first;
        LOOP v[j] = n[j] > 0 ? to[j] : v[j];
    }
}

static void added(int64_t count, int32_t *restrict v, const int32_t *restrict a, const int32_t *bias, int32_t low, int32_t high)
{
    if (bias) LOOP v[j] += bias[j];
    LOOP {
        const int32_t w = v[j] + a[j];
        v[j] = w < low ? low : w > high ? high : w;
    }
}

static void fire(const Layer *la, int64_t first, int64_t count, const int32_t *restrict v, int32_t *restrict n)
{
    const int32_t *restrict at = la->fire_at + first;
    if (la->max_spikes == 1) {
        LOOP n[j] = v[j] >= at[j];
    } else {
        LOOP {
            const int32_t more = v[j] >= at[j] ? 1 + (v[j] - at[j]) / la->reset_sub[first + j] : 0;
            n[j] = more < la->max_spikes ? more : la->max_spikes;
        }
    }
}

/* The usual neuron in one pass: no current, one spike, no floor; leak, mode and bias are constants of each copy. */
enum { SILENT, KEEPS, SAME_STEP, NEXT_STEP };
static inline __attribute__((always_inline)) void plain(const Layer *la, int64_t first, int64_t count, int32_t *restrict v,
                                                        int32_t *restrict n, const int32_t *restrict acc, int kind,
                                                        int rounding, int mode, int has_bias)
{
    const int32_t low = la->low, high = la->high, bits = la->leak_v.bits;
    const int32_t *restrict m = la->leak_v.values + (kind ? first : 0), *restrict at = la->fire_at + first;
    const int32_t *restrict sub = la->reset_sub + first, *restrict bias = la->bias + first;
    LOOP {
        int32_t w = v[j];
        if (kind == 1) w -= divided(w, m[j], rounding);
        if (kind == 2) w = divided(m[j] * w, bits, rounding);
        if (mode == NEXT_STEP) w -= n[j] ? sub[j] : 0;
        w += acc[j];
        if (has_bias) w += bias[j];
        w = w < low ? low : w > high ? high : w;
        if (mode != SILENT) {
            const int32_t fires = w >= at[j];
            n[j] = fires;
            if (mode == SAME_STEP) {
                w -= fires ? sub[j] : 0;
                w = w < low ? low : w;
            }
        }
        v[j] = w;
    }
}

#define PLAIN(KIND, ROUNDING, MODE)                                                                                    \
    if (la->bias) plain(la, first, count, v, n, acc, KIND, ROUNDING, MODE, 1);                                         \
    else plain(la, first, count, v, n, acc, KIND, ROUNDING, MODE, 0);                                                  \
    return 1;
#define PLAIN_MODES(KIND, ROUNDING)                                                                                    \
    if (!la->fires) { PLAIN(KIND, ROUNDING, SILENT) }                                                                  \
    if (la->reset == 0) { PLAIN(KIND, ROUNDING, KEEPS) }                                                               \
    if (la->late) { PLAIN(KIND, ROUNDING, NEXT_STEP) }                                                                 \
    PLAIN(KIND, ROUNDING, SAME_STEP)

/* 0 where the rule is not a usual one. A reset by subtraction cannot exceed the maximum: its threshold is not negative. */
static int update_plain(const Layer *la, int64_t first, int64_t count, int32_t *v, int32_t *n, const int32_t *acc)
{
    const Leak *leak = &la->leak_v;
    if (la->has_current || la->floor || la->drops || la->max_spikes > 1 || la->reset > 1) return 0;
    if (la->late && la->before_leak && la->reset) return 0;
    if (la->fires && la->reset == 1 && !la->positive) return 0;
    if (leak->kind == 0) { PLAIN_MODES(0, 0) }
    if (leak->kind == 1 && leak->rounding == 0) { PLAIN_MODES(1, 0) }
    if (leak->kind == 2 && leak->rounding == 0) { PLAIN_MODES(2, 0) }
    if (leak->kind == 2 && leak->rounding == 2) { PLAIN_MODES(2, 2) }
    return 0;
}

#define AT(role) (la->role ? la->role + first : NULL)

static void update(const Layer *la, int64_t first, int64_t count, int32_t *v, int32_t *i, int32_t *n, int32_t *acc)
{
    int32_t old[TILE];
    const int32_t *enters = acc;
    if (update_plain(la, first, count, v, n, acc)) return;
    if (la->late && la->before_leak) reset_by(la, first, count, v, n);
    if (la->has_current) {
        if (la->current_old) memcpy(old, i, (size_t)count * sizeof *i);
        leaked(&la->leak_i, first, count, i);
        added(count, i, acc, AT(bias_i), la->low, la->high);
        enters = la->current_old ? old : i;
    }
    leaked(&la->leak_v, first, count, v);
    if (la->late && !la->before_leak) reset_by(la, first, count, v, n);
    added(count, v, enters, AT(bias), la->low, la->high);
    if (la->drops) LOOP v[j] = n[j] > 0 ? la->reset_to[first + j] : v[j];
    if (la->floor) LOOP v[j] = v[j] < la->floor[first + j] ? la->floor[first + j] : v[j];
    if (!la->fires) return;
    fire(la, first, count, v, n);
    if (!la->late && la->reset) {
        reset_by(la, first, count, v, n);
        if (la->reset == 1) LOOP v[j] = v[j] < la->low ? la->low : v[j] > la->high ? la->high : v[j];
    }
}

static int64_t emit(const Layer *la, const int32_t *restrict n, int64_t at)
{
    int32_t *restrict index = la->index, *restrict value = la->value;
    int64_t j = 0;
#if defined(__AVX512F__)
    if (!value) {
        __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (; j + 16 <= la->neurons; j += 16) {
            const __m512i now = _mm512_loadu_si512(n + j);
            const __mmask16 some = _mm512_test_epi32_mask(now, now);
            _mm512_storeu_si512(index + at, _mm512_maskz_compress_epi32(some, lane)); /* writes up to SLACK further */
            at += __builtin_popcount(some);
            lane = _mm512_add_epi32(lane, _mm512_set1_epi32(16));
        }
    }
#endif
    for (; j < la->neurons; ++j) { /* no branch: spikes cannot be predicted */
        index[at] = (int32_t)j;
        if (value) value[at] = n[j];
        at += n[j] != 0;
    }
    return at;
}

static void read_out(const Layer *la, int64_t t, const int32_t *restrict v, const int32_t *restrict n, int64_t *restrict to)
{
    const int64_t count = la->neurons;
    if (la->readout == 0) LOOP to[j] += n[j];
    else if (la->readout == 1) LOOP to[j] += v[j];
    else if (la->readout == 2) LOOP to[j] = t == 0 || v[j] > to[j] ? v[j] : to[j];
    else LOOP to[j] = v[j];
}

/* Samples [first, last) of a layer; 1 where there is no memory. */
int spikebit_event_layer(const Layer *la, int64_t first, int64_t last)
{
    const size_t bytes = (size_t)la->padded * sizeof(int32_t);
    int32_t *memory = malloc(5 * bytes);
    if (!memory) return 1;
    int32_t *v = memory, *i = v + la->padded, *n = i + la->padded, *acc = n + la->padded, *sums = acc + la->padded;
    for (int64_t s = first; s < last; ++s) {
        memset(memory, 0, 5 * bytes);
        if (la->start) memcpy(v, la->start, bytes);
        int64_t at = s * (la->steps * la->neurons + SLACK);
        for (int64_t t = 0; t < la->steps; ++t) {
            gather(la, s, t, acc, sums);
            for (int64_t j = 0; j < la->neurons; j += TILE) {
                const int64_t count = la->neurons - j < TILE ? la->neurons - j : TILE;
                update(la, j, count, v + j, i + j, n + j, acc + j);
            }
            la->begin[s * la->steps + t] = at;
            if (la->fires) at = emit(la, n, at);
            la->end[s * la->steps + t] = at;
            if (la->reads) read_out(la, t, v, n, la->read + s * la->neurons);
        }
        memcpy(la->final_v + s * la->neurons, v, (size_t)la->neurons * sizeof *v);
        memcpy(la->final_n + s * la->neurons, n, (size_t)la->neurons * sizeof *n);
        if (la->has_current) memcpy(la->final_i + s * la->neurons, i, (size_t)la->neurons * sizeof *i);
    }
    free(memory);
    return 0;
}

/* Dense frames [row, width] to events: values that are not 0 after clamping to [low, high]. Returns their number. */
#define EXTRACT(NAME, TYPE)                                                                                            \
    int64_t spikebit_event_extract_##NAME(const TYPE *restrict x, int64_t rows, int64_t width, int32_t low,            \
                                          int32_t high, int64_t *begin, int64_t *end, int32_t *index, int32_t *value,  \
                                          int64_t *clamped)                                                            \
    {                                                                                                                  \
        int64_t at = 0, outside = 0;                                                                                   \
        for (int64_t r = 0; r < rows; ++r, x += width) {                                                               \
            begin[r] = at;                                                                                             \
            for (int64_t j = 0; j < width; j += 16) {                                                                  \
                const int64_t stop = j + 16 < width ? j + 16 : width;                                                  \
                int any = 0;                                                                                           \
                if (low <= 0 && high >= 0) {                                                                           \
                    if (stop - j == 16) for (int q = 0; q < 16; ++q) any |= x[j + q] != 0;                             \
                    else any = 1;                                                                                      \
                    if (!any) continue;                                                                                \
                }                                                                                                      \
                for (int64_t k = j; k < stop; ++k) {                                                                   \
                    const int32_t w = x[k] < (TYPE)low ? low : x[k] > (TYPE)high ? high : (int32_t)x[k];               \
                    outside += (TYPE)w != x[k];                                                                        \
                    if (w) {                                                                                           \
                        index[at] = (int32_t)k;                                                                        \
                        if (value) value[at] = w;                                                                      \
                        ++at;                                                                                          \
                    }                                                                                                  \
                }                                                                                                      \
            }                                                                                                          \
            end[r] = at;                                                                                               \
        }                                                                                                              \
        *clamped = outside;                                                                                            \
        return at;                                                                                                     \
    }

EXTRACT(float, float)
EXTRACT(uint8, uint8_t)
EXTRACT(int64, int64_t)
