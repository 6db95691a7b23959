/* Matrices of spikes by their events: which columns of a row are not zero, and how much they hold. */
#ifndef SPIKEBIT_SPARSE_H
#define SPIKEBIT_SPARSE_H

#include <stdint.h>

/* Row r has count[r] events from events[begin[r]] on. `values` is NULL where every event is 1. */
typedef struct {
    const int64_t *begin;
    const int32_t *count, *columns;
    const float *values;
} Events;

/* What input position p adds to: for t in begin[p]..begin[p+1]−1 row[t] of the weights at place[t] of the output. */
typedef struct {
    int64_t channels, places;
    const int32_t *begin, *row, *place;
} Taps;

#endif
