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

enum { BIAS = 1, BIAS_I = 2, FIRE_AT = 4, RESET_SUB = 8, RESET_TO = 16, FLOOR = 32, LEAK_V = 64, LEAK_I = 128 };
enum { TILE = 512, FLUSH = 250, SLACK = 16, MOST_LINKS = 64 }; /* 250 rows of at most 127 fit 16 bits */

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
    const int32_t *shift; /* [padded]: exponent + fraction bits */
    const int32_t *dense; /* [sample, step, neurons] sums of the source's events of that step; null: add them here */
    int64_t width;        /* weights of a tap */
    int32_t wide_weights; /* 0: int8, 1: int16 */
    int32_t rows;         /* every source neuron has one tap, over all (padded) neurons */
    int32_t narrow;       /* sums fit int16 */
    int32_t late;         /* steps */
    int32_t same_shift;   /* that of every neuron; -1: they differ */
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
    int32_t repeats;  /* bit of a role: its values repeat every TILE neurons or less, the first TILE stand for all */
    const int32_t *bias, *bias_i, *fire_at, *reset_sub, *reset_to, *floor, *start; /* [padded] or null */
    int64_t *begin, *end; /* [sample, step] of this layer's events */
    int32_t *index, *value; /* sample s writes from s·(steps·neurons + SLACK) on; value may be null */
    int32_t *final_v, *final_i, *final_n; /* [sample, neurons] */
    int64_t *read; /* [sample, neurons] or null */
    int64_t *lost; /* [sample]: how often a membrane or current was limited to its range */
} Layer;

void spikebit_event_sizes(int64_t *sizes)
{
    sizes[0] = sizeof(Link);
    sizes[1] = sizeof(Layer);
}

#define LOOP for (int64_t j = 0; j < count; ++j)
#define FROM(role, bit) ((role) ? (role) + (la->repeats & (bit) ? 0 : first) : NULL)

#include "event_add.inc"

/* Sums of one link at one step: 0 nothing arrives, 1 int32 in `sums`, 2 int16 in `sums`. */
static int weigh(const Layer *la, const Link *link, int64_t sample, int64_t t, int32_t *restrict sums)
{
    const int64_t then = t - link->late;
    if (then < 0) return 0;
    const Events *e = &link->events;
    const int64_t at = sample * la->steps + then, from = e->begin[at], events = e->end[at] - from;
    if (!events) return 0;
    const int32_t *index = e->index + from, *value = e->value ? e->value + from : NULL;
    const int by_rows = link->rows && !value, narrow = link->narrow && !by_rows;
    memset(sums, 0, (size_t)la->padded * (narrow ? sizeof(int16_t) : sizeof(int32_t)));
    if (by_rows)
        add_rows(link, la->padded, index, events, sums);
    else
        add_taps(link, index, value, events, sums);
    return narrow ? 2 : 1;
}

/* A product with 2^shift, unsigned: negative numbers are never shifted. */
#define SHIFTED(FROM, BY)                                                                                              \
    LOOP                                                                                                               \
    {                                                                                                                  \
        const int32_t w = (int32_t)((uint32_t)(int32_t)(FROM)[j] << (BY));                                             \
        acc[j] = add ? acc[j] + w : w;                                                                                 \
    }
static inline __attribute__((always_inline)) void shifted(const Link *link, int64_t first, int64_t count, int kind,
                                                          const int32_t *sums, int32_t *restrict acc, const int add)
{
    const int32_t same = link->same_shift, *restrict each = link->shift + first;
    const int16_t *restrict narrow = (const int16_t *)sums + first;
    const int32_t *restrict wide = sums + first;
    if (kind == 2 && same >= 0) { SHIFTED(narrow, same) }
    else if (kind == 2) { SHIFTED(narrow, each[j]) }
    else if (same >= 0) { SHIFTED(wide, same) }
    else { SHIFTED(wide, each[j]) }
}

/* What arrives at neurons [first, first + count) from all links; `kinds` are what `weigh` returned. */
static void gather(const Layer *la, const int *kinds, int64_t first, int64_t count, const int32_t *const *sums, int32_t *acc)
{
    int add = 0;
    for (int64_t l = 0; l < la->link_count; ++l) {
        if (!kinds[l]) continue;
        if (add) shifted(la->links + l, first, count, kinds[l], sums[l], acc, 1);
        else shifted(la->links + l, first, count, kinds[l], sums[l], acc, 0);
        add = 1;
    }
    if (!add) memset(acc, 0, (size_t)count * sizeof *acc);
}

static inline int32_t divided(int32_t s, int32_t b, int32_t rounding)
{
    if (rounding == 0) return s >> b; /* arithmetic, as every compiler that knows vector_size does */
    if (rounding == 1) return s < 0 ? -(-s >> b) : s >> b;
    return (s + (int32_t)((uint32_t)1 << b >> 1)) >> b; /* b may be 31 */
}

#define LEAKED(EXPRESSION)                                                                                             \
    if (leak->rounding == 0) { const int32_t r = 0; LOOP { EXPRESSION; } }                                             \
    else if (leak->rounding == 1) { const int32_t r = 1; LOOP { EXPRESSION; } }                                        \
    else { const int32_t r = 2; LOOP { EXPRESSION; } }

static void leaked(const Leak *leak, const int32_t *restrict m, int64_t count, int32_t *restrict s)
{
    if (leak->kind == 0) return;
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
        const int32_t *restrict sub = FROM(la->reset_sub, RESET_SUB);
        if (la->max_spikes == 1) LOOP v[j] -= n[j] > 0 ? sub[j] : 0;
        else LOOP v[j] -= n[j] * sub[j];
    } else if (la->reset == 2) {
        const int32_t *restrict to = FROM(la->reset_to, RESET_TO);
        LOOP v[j] = n[j] > 0 ? to[j] : v[j];
    }
}

static inline int32_t limited(int32_t w, int32_t low, int32_t high)
{
    return w < low ? low : w > high ? high : w;
}

/* The sum, limited; returns how many were outside. */
static int32_t added(int64_t count, int32_t *restrict v, const int32_t *restrict a, const int32_t *bias, int32_t low, int32_t high)
{
    int32_t lost = 0;
    if (bias) LOOP v[j] += bias[j];
    LOOP {
        const int32_t w = v[j] + a[j];
        v[j] = limited(w, low, high);
        lost += v[j] != w;
    }
    return lost;
}

static void fire(const Layer *la, int64_t first, int64_t count, const int32_t *restrict v, int32_t *restrict n)
{
    const int32_t *restrict at = FROM(la->fire_at, FIRE_AT), *restrict sub = FROM(la->reset_sub, RESET_SUB);
    if (la->max_spikes == 1) {
        LOOP n[j] = v[j] >= at[j];
    } else {
        LOOP {
            const int32_t more = v[j] >= at[j] ? 1 + (v[j] - at[j]) / sub[j] : 0;
            n[j] = more < la->max_spikes ? more : la->max_spikes;
        }
    }
}

/* The usual neuron in one pass: no current, one spike, no floor; leak, mode and bias are constants of each copy. */
enum { SILENT, KEEPS, SAME_STEP, NEXT_STEP };
static inline __attribute__((always_inline)) int32_t plain(const Layer *la, int64_t first, int64_t count,
                                                           int32_t *restrict v, int32_t *restrict n,
                                                           const int32_t *restrict acc, int kind, int rounding, int mode,
                                                           int has_bias)
{
    int32_t lost = 0;
    const int32_t low = la->low, high = la->high, bits = la->leak_v.bits;
    const int32_t *restrict m = FROM(la->leak_v.values, LEAK_V), *restrict at = FROM(la->fire_at, FIRE_AT);
    const int32_t *restrict sub = la->reset_sub + first, *restrict bias = FROM(la->bias, BIAS);
    LOOP {
        int32_t w = v[j];
        if (kind == 1) w -= divided(w, m[j], rounding);
        if (kind == 2) w = divided(m[j] * w, bits, rounding);
        if (mode == NEXT_STEP) w -= n[j] ? sub[j] : 0;
        w += acc[j];
        if (has_bias) w += bias[j];
        const int32_t inside = limited(w, low, high);
        lost += w != inside;
        w = inside;
        if (mode != SILENT) {
            const int32_t fires = w >= at[j];
            n[j] = fires;
            if (mode == SAME_STEP) {
                w -= fires ? sub[j] : 0;
                lost += w < low;
                w = w < low ? low : w;
            }
        }
        v[j] = w;
    }
    return lost;
}

#define PLAIN(KIND, ROUNDING, MODE)                                                                                    \
    if (la->bias) return plain(la, first, count, v, n, acc, KIND, ROUNDING, MODE, 1);                                  \
    return plain(la, first, count, v, n, acc, KIND, ROUNDING, MODE, 0);
#define PLAIN_MODES(KIND, ROUNDING)                                                                                    \
    if (!la->fires) { PLAIN(KIND, ROUNDING, SILENT) }                                                                  \
    if (la->reset == 0) { PLAIN(KIND, ROUNDING, KEEPS) }                                                               \
    if (la->late) { PLAIN(KIND, ROUNDING, NEXT_STEP) }                                                                 \
    PLAIN(KIND, ROUNDING, SAME_STEP)

/* Saturations; -1 where the rule is not a usual one. A reset by subtraction cannot exceed the maximum: its threshold is not negative. */
static int32_t update_plain(const Layer *la, int64_t first, int64_t count, int32_t *v, int32_t *n, const int32_t *acc)
{
    const Leak *leak = &la->leak_v;
    if (la->has_current || la->floor || la->drops || la->max_spikes > 1 || la->reset > 1) return -1;
    if (la->late && la->before_leak && la->reset) return -1;
    if (la->fires && la->reset == 1 && !la->positive) return -1;
    if (leak->kind == 0) { PLAIN_MODES(0, 0) }
    if (leak->kind == 1 && leak->rounding == 0) { PLAIN_MODES(1, 0) }
    if (leak->kind == 2 && leak->rounding == 0) { PLAIN_MODES(2, 0) }
    if (leak->kind == 2 && leak->rounding == 2) { PLAIN_MODES(2, 2) }
    return -1;
}

/* One step of these neurons; how many values saturated. */
static int32_t update(const Layer *la, int64_t first, int64_t count, int32_t *v, int32_t *i, int32_t *n, int32_t *acc)
{
    int32_t old[TILE];
    const int32_t *enters = acc;
    int32_t lost = update_plain(la, first, count, v, n, acc);
    if (lost >= 0) return lost;
    lost = 0;
    if (la->late && la->before_leak) reset_by(la, first, count, v, n);
    if (la->has_current) {
        if (la->current_old) memcpy(old, i, (size_t)count * sizeof *i);
        leaked(&la->leak_i, FROM(la->leak_i.values, LEAK_I), count, i);
        lost += added(count, i, acc, FROM(la->bias_i, BIAS_I), la->low, la->high);
        enters = la->current_old ? old : i;
    }
    leaked(&la->leak_v, FROM(la->leak_v.values, LEAK_V), count, v);
    if (la->late && !la->before_leak) reset_by(la, first, count, v, n);
    lost += added(count, v, enters, FROM(la->bias, BIAS), la->low, la->high);
    if (la->drops) {
        const int32_t *restrict to = FROM(la->reset_to, RESET_TO);
        LOOP v[j] = n[j] > 0 ? to[j] : v[j];
    }
    if (la->floor) {
        const int32_t *restrict floor = FROM(la->floor, FLOOR);
        LOOP v[j] = v[j] < floor[j] ? floor[j] : v[j];
    }
    if (!la->fires) return lost;
    fire(la, first, count, v, n);
    if (!la->late && la->reset) {
        reset_by(la, first, count, v, n);
        if (la->reset == 1) {
            const int32_t low = la->low, high = la->high;
            LOOP {
                const int32_t w = v[j];
                v[j] = limited(w, low, high);
                lost += v[j] != w;
            }
        }
    }
    return lost;
}

static int64_t emit(const Layer *la, int64_t first, int64_t count, const int32_t *restrict n, int64_t at)
{
    int32_t *restrict index = la->index, *restrict value = la->value;
    int64_t j = 0;
#if defined(__AVX512F__)
    if (!value) {
        __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        lane = _mm512_add_epi32(lane, _mm512_set1_epi32((int32_t)first));
        for (; j + 16 <= count; j += 16) {
            const __m512i now = _mm512_loadu_si512(n + j);
            const __mmask16 some = _mm512_test_epi32_mask(now, now);
            _mm512_storeu_si512(index + at, _mm512_maskz_compress_epi32(some, lane)); /* writes up to SLACK further */
            at += __builtin_popcount(some);
            lane = _mm512_add_epi32(lane, _mm512_set1_epi32(16));
        }
    }
#endif
    for (; j < count; ++j) { /* no branch: spikes cannot be predicted */
        index[at] = (int32_t)(first + j);
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

/* What arrives, the step and its events, TILE neurons after another, so that a tile's numbers stay in the first cache. */
static int64_t one_step(const Layer *la, int64_t s, int64_t t, int32_t *v, int32_t *const *sums, int *kinds, int64_t at)
{
    int32_t acc[TILE], *i = v + la->padded, *n = i + la->padded;
    const int32_t *ready[MOST_LINKS];
    for (int64_t l = 0; l < la->link_count; ++l) {
        const Link *link = la->links + l;
        const int64_t then = t - link->late;
        if (!link->dense) {
            kinds[l] = weigh(la, link, s, t, sums[l]);
            ready[l] = sums[l];
        } else {
            kinds[l] = then >= 0;
            ready[l] = link->dense + (s * la->steps + (then < 0 ? 0 : then)) * la->neurons;
        }
    }
    for (int64_t j = 0; j < la->neurons; j += TILE) {
        const int64_t count = la->neurons - j < TILE ? la->neurons - j : TILE;
        gather(la, kinds, j, count, ready, acc);
        la->lost[s] += update(la, j, count, v + j, i + j, n + j, acc);
        if (la->fires) at = emit(la, j, count, n + j, at);
    }
    return at;
}

/* Samples [first, last) of a layer; 1 where there is no memory. */
int spikebit_event_layer(const Layer *la, int64_t first, int64_t last)
{
    const size_t bytes = (size_t)la->padded * sizeof(int32_t);
    int32_t *sums[MOST_LINKS];
    int kinds[MOST_LINKS];
    if (la->link_count > MOST_LINKS) return 2;
    int32_t *memory = malloc((size_t)(3 + la->link_count) * bytes);
    if (!memory) return 1;
    int32_t *v = memory, *i = v + la->padded, *n = i + la->padded;
    for (int64_t l = 0; l < la->link_count; ++l) sums[l] = n + (l + 1) * la->padded;
    for (int64_t s = first; s < last; ++s) {
        memset(memory, 0, 3 * bytes);
        if (la->start) memcpy(v, la->start, bytes);
        int64_t at = s * (la->steps * la->neurons + SLACK);
        for (int64_t t = 0; t < la->steps; ++t) {
            la->begin[s * la->steps + t] = at;
            at = one_step(la, s, t, v, sums, kinds, at);
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

#include "event_extract.inc"

/* Events of rows to dense bytes [row, width], which are zero before. */
void spikebit_event_scatter(const Events *e, int64_t rows, int64_t width, int8_t *restrict x)
{
    for (int64_t r = 0; r < rows; ++r, x += width)
        for (int64_t k = e->begin[r]; k < e->end[r]; ++k) x[e->index[k]] = e->value ? (int8_t)e->value[k] : 1;
}
