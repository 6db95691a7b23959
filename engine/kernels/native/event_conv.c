/* Convolutions by the event, every sample with kernels of its own: a direction's sums, and squared gradients. */

#include "event_conv.h"

#include <stdlib.h>
#include <string.h>

#include "mode.h"
#include "sparse.h"

typedef struct {
    int32_t y, x, channel;
} Place;

typedef struct { /* along one axis, an input place meets element `kernel` in the output place `out` */
    int32_t kernel, out;
} Step;

typedef struct {
    Place *places;     /* of every column of a row of events */
    int32_t *first[2]; /* steps of input place p on an axis: first[axis][p] .. first[axis][p + 1] − 1 */
    Step *steps[2];
} Reach;

static void forget(Reach *reach)
{
    free(reach->places);
    for (int axis = 0; axis < 2; axis++) free(reach->first[axis]), free(reach->steps[axis]);
}

/* 1 where memory lacks */
static int find_reach(const Geometry *g, Reach *reach)
{
    const int64_t in[2] = {g->height, g->width}, out[2] = {g->out_height, g->out_width};
    const int64_t kernel[2] = {g->kernel_height, g->kernel_width};
    memset(reach, 0, sizeof *reach);
    reach->places = malloc((in[0] * in[1] * g->channels + 1) * sizeof(Place));
    if (!reach->places) return 1;
    for (int axis = 0; axis < 2; axis++) {
        reach->first[axis] = malloc((in[axis] + 1) * sizeof(int32_t));
        reach->steps[axis] = malloc((in[axis] * kernel[axis] + 1) * sizeof(Step));
        if (!reach->first[axis] || !reach->steps[axis]) return 1;
        int32_t n = 0;
        for (int64_t p = 0; p < in[axis]; p++) {
            reach->first[axis][p] = n;
            for (int64_t k = 0; k < kernel[axis]; k++) {
                const int64_t from = p + g->padding[axis] - k * g->dilation[axis];
                if (from < 0 || from % g->stride[axis] || from / g->stride[axis] >= out[axis]) continue;
                reach->steps[axis][n++] = (Step){(int32_t)k, (int32_t)(from / g->stride[axis])};
            }
        }
        reach->first[axis][in[axis]] = n;
    }
    Place *place = reach->places;
    for (int32_t y = 0; y < in[0]; y++)
        for (int32_t x = 0; x < in[1]; x++)
            for (int32_t c = 0; c < g->channels; c++) *place++ = (Place){y, x, c};
    return 0;
}

#define REAL float
#define NAME(x) x##_float
#include "event_conv.inc"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "event_conv.inc"

/* sums of the samples first..last−1 with their kernels, all overwritten; 1 where memory lacks */
#define CONVOLVE(real, name)                                                                                         \
    do {                                                                                                             \
        const int64_t frame = g->out_height * g->out_width * g->out;                                                 \
        const int64_t size = g->kernel_height * g->kernel_width * g->channels * (g->out / g->groups);                \
        for (int64_t s = first; s < last; s++) {                                                                     \
            for (int64_t t = 0; t < g->steps; t++)                                                                   \
                memset((real *)sums + (t * g->batch + s) * frame, 0, frame * sizeof(real));                          \
            meet_##name(g, events, &reach, s, (real *)kernels + s * size, sums, 0);                                  \
        }                                                                                                            \
    } while (0)

int spikebit_convolve_own(int32_t kind, const Geometry *g, const Events *events, void *kernels, void *sums,
                          uint32_t mode, int64_t first, int64_t last)
{
    Reach reach;
    const int failed = find_reach(g, &reach);
    if (!failed) {
        const uint32_t before = set_mode(mode);
        if (kind == 1) CONVOLVE(float, float);
        else CONVOLVE(double, double);
        set_mode(before);
    }
    forget(&reach);
    return failed;
}

/* squares [sample, out] of every sample's kernel gradient, added to; 1 where memory lacks */
#define SQUARE(real, name)                                                                                           \
    do {                                                                                                             \
        const int64_t size = g->kernel_height * g->kernel_width * g->channels * (g->out / g->groups);                \
        real *kernel = malloc((size + 1) * sizeof(real));                                                            \
        failed = !kernel;                                                                                            \
        for (int64_t s = first; s < last && kernel; s++) {                                                           \
            memset(kernel, 0, size * sizeof(real));                                                                  \
            meet_##name(g, events, &reach, s, kernel, adjoints, 1);                                                  \
            add_squares_##name(g, kernel, squares + s * g->out);                                                     \
        }                                                                                                            \
        free(kernel);                                                                                                \
    } while (0)

int spikebit_square_gradients(int32_t kind, const Geometry *g, const Events *events, void *adjoints, double *squares,
                              uint32_t mode, int64_t first, int64_t last)
{
    Reach reach;
    int failed = find_reach(g, &reach);
    if (!failed) {
        const uint32_t before = set_mode(mode);
        if (kind == 1) SQUARE(float, float);
        else SQUARE(double, double);
        set_mode(before);
    }
    forget(&reach);
    return failed;
}

void spikebit_event_conv_sizes(int64_t *sizes) { sizes[0] = sizeof(Geometry); }
