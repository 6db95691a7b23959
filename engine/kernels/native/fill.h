/* Sums of a neuron layer made where they are needed, a few samples at a time: they never leave the cache.
 *
 * A function writes the sums of the samples first..last−1 to [sample, step, neuron]; 1 where memory lacks. */
#ifndef SPIKEBIT_FILL_H
#define SPIKEBIT_FILL_H

#include <stdint.h>

#include "sparse.h"

typedef struct {
    int (*into)(const void *context, int64_t first, int64_t last, void *to);
    const void *context;
    int64_t group; /* samples at a time */
} Fill;

typedef struct { /* spikes through weights of random signs that every sample has for itself; signs.c */
    const Events *events;
    const uint8_t *bits;
    int64_t steps, batch, wide, out;
    int32_t kind; /* 1: float, 2: double */
    uint32_t mode;
} SignFill;

typedef struct { /* spikes through kernels [sample, kernel place, channel, out / groups] of every sample; event_conv.c */
    const Events *events; /* of rows [place, channel] */
    const Taps *taps;     /* of a place of the input, whatever the channel: kernel place and place of the output */
    const void *kernels;
    int64_t steps, batch, elements, channels, out, groups; /* elements: places of a kernel */
    int32_t kind;
    uint32_t mode;
} KernelFill;

typedef struct { /* a dense product; product.c */
    const float *source;    /* [step, sample, wide] */
    const float *panels;    /* weights [panel, tap, deep, 32] */
    const int32_t *offsets; /* [tap, place]: where a place's stretch of `deep` values begins in `wide`; −1: zeros */
    int64_t steps, batch, wide, taps, deep, places, out;
    uint32_t mode;
} ProductFill;

#endif
