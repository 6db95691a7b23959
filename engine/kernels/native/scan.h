/* One neuron layer over all time steps: what the caller hands over (engine/kernels/native_scan.py mirrors it).
 *
 * Columns are [batch, neuron] flattened. Values of a neuron are arrays of `period` entries, a multiple of `neurons`,
 * repeated as often as it takes, so that one block of columns reads one stretch of them. Pointers may be NULL where
 * the rule has no such value. Time-major arrays are [time, column]. */
#ifndef SPIKEBIT_SCAN_H
#define SPIKEBIT_SCAN_H

#include <stdint.h>

enum { LEAK_NONE, LEAK_FACTOR, LEAK_SHIFT, LEAK_MULTIPLY };
enum { ROUND_FLOOR, ROUND_TO_ZERO, ROUND_HALF_UP };
enum { RESET_NONE, RESET_SUBTRACT, RESET_TO_VALUE };
enum { ORDER_NONE, ORDER_BEFORE_LEAK, ORDER_AFTER_LEAK };

typedef struct {
    int32_t kind, rounding;
    const void *factor, *slope; /* factor: v·f, v − round(v·f), or round(v·f) by kind; slope: its derivative */
} Leak;

typedef struct {
    int64_t steps, columns, neurons, period, width; /* width: most columns that are walked together */
    Leak leak_v, leak_i;
    int32_t has_current, current_old, resets, same_step, order, drops, fires, compare_gt, max_spikes, limited, through;
    int32_t narrow; /* the input and its gradient are float32 whatever the state is */
    uint32_t mode;  /* of the calling thread's floating-point unit: flushes denormals or not */
    double low, high;
    const void *gain, *bias, *bias_i, *fire_at, *reset_sub, *reset_to, *floor, *start, *steep, *scale;
    const void *recurrent; /* forward [from, to], backward [to, from] */
} Rule;

typedef struct {
    const void *current;
    void *spikes, *u, *raw, *membrane, *final_v, *final_i;
    uint8_t *inside; /* where the current was strictly inside its range */
} Forward;

typedef struct {
    const void *u, *raw, *g_spikes, *g_membrane;
    const uint8_t *inside;
    void *g_current, *g_acc; /* g_acc: the same before gain, in the state's type; NULL: not asked */
    void *g_bias, *g_bias_i, *g_fire, *g_sub; /* [column], summed over time from the last step to the first */
} Backward;

#endif
