/* Linear synapses where few inputs spike: cost by the event, not by the weight (engine/kernels/spike_linear.py). */

#include "sparse.h"

#include <stddef.h>

#define TYPE uint8_t
#define NAME(x) x##_byte
#include "events.inc"
#undef TYPE
#undef NAME

#define TYPE float
#define REAL float
#define NAME(x) x##_float
#include "events.inc"
#include "sparse.inc"
#undef TYPE
#undef REAL
#undef NAME

#define TYPE double
#define REAL double
#define NAME(x) x##_double
#include "events.inc"
#include "sparse.inc"

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
