/* How the floating-point unit treats denormals: read from the calling thread, set in the threads that work for it. */
#ifndef SPIKEBIT_MODE_H
#define SPIKEBIT_MODE_H

#include <stdint.h>

#if defined(__SSE__)
#include <xmmintrin.h>
static inline uint32_t get_mode(void) { return _mm_getcsr() & 0x8040u; } /* flush to zero, denormals are zero */
static inline uint32_t set_mode(uint32_t mode)
{
    uint32_t before = _mm_getcsr();
    _mm_setcsr((before & ~0x8040u) | mode);
    return before & 0x8040u;
}
#elif defined(__aarch64__)
static inline uint32_t get_mode(void)
{
    uint64_t fpcr;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(fpcr));
    return (uint32_t)fpcr & (1u << 24);
}
static inline uint32_t set_mode(uint32_t mode)
{
    uint64_t fpcr;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(fpcr));
    uint64_t wanted = (fpcr & ~(uint64_t)(1u << 24)) | mode;
    __asm__ __volatile__("msr fpcr, %0" : : "r"(wanted));
    return (uint32_t)fpcr & (1u << 24);
}
#else
static inline uint32_t get_mode(void) { return 0; }
static inline uint32_t set_mode(uint32_t mode) { return mode; }
#endif

#endif
