/* A linearised neuron layer over all steps (engine/kernels/tangent_scan.py mirrors it, and has the equations).
 *
 * Arrays over time are [time, sample, neuron] without gaps; the input alone has strides of its own. Factors of a neuron
 * are [neuron]. Pointers may be NULL, but carry: gate, spike and end are 1 then, the rest is left out. */
#ifndef SPIKEBIT_LINEAR_H
#define SPIKEBIT_LINEAR_H

#include <stdint.h>

#include "fill.h"

typedef struct {
    int64_t steps, batch, neurons;
    int32_t varies;      /* carry is [time, sample, neuron] */
    int32_t old_current; /* the membrane sees the current of the step before */
    uint32_t mode;       /* of the calling thread's floating-point unit */
    const void *carry, *slope; /* carry_t = carry − slope·spike_{t−1} */
    const void *gate, *spike, *end, *leak;
} Layer;

typedef struct {
    const void *input; /* changes of the synaptic sum, from sample `input_first` on */
    int64_t input_time, input_sample, input_first;
    const Fill *fill;           /* makes the input instead */
    void *u, *n;                /* [time, sample, neuron] */
    const void *bend, *cross;   /* second derivatives */
    double *curvature;          /* [sample] */
    const void *read;           /* [time] */
    void *contracted;           /* [sample, neuron]: Σ_t read_t·n_t */
} Push;

typedef struct {
    const void *n, *v;               /* adjoints [time, sample, neuron] of spikes and of the membrane at the end of a step */
    const void *n_time, *n_sample;   /* and a product of [time] and [sample, neuron] on top */
    void *u, *input;                 /* adjoints of membrane and synaptic sum */
} Pull;

#endif
