/* A convolution of spikes whose kernels every sample has for itself (engine/kernels/event_conv.py mirrors it).
 *
 * Channels are innermost throughout: events are those of rows [time·batch, row·column·channel], kernels
 * [sample, ky, kx, channel, out / groups], sums and adjoints [time, sample, oy, ox, out]. */
#ifndef SPIKEBIT_EVENT_CONV_H
#define SPIKEBIT_EVENT_CONV_H

#include <stdint.h>

typedef struct {
    int64_t steps, batch, channels, height, width, out, out_height, out_width, kernel_height, kernel_width, groups;
    int64_t stride[2], padding[2], dilation[2];
} Geometry;

#endif
