/* SPDX-License-Identifier: Apache-2.0 */
/* The PMU probe: a freestanding image that boots, writes one JSON line and switches the machine off. */
#ifndef HALPMC_PROBE_H
#define HALPMC_PROBE_H

#include <stdint.h>

/* Supplied by each platform. */
extern const char probe_arch[];
void probe_put(char c);                            /* one character of the answer */
void probe_registers(void);                        /* probe_register() for each ID register */
_Noreturn void probe_off(void);                    /* end the machine */

/* Supplied by the common part. */
_Noreturn void probe_main(void);                   /* entered by the platform's start code, on the boot CPU, interrupts masked */
_Noreturn void probe_died(uint64_t what, uint64_t where); /* an exception outside of a guard: say so, and end the machine */
void probe_register(const char *name, uint32_t leaf, const char *part, uint64_t value); /* name, or name.leaf.part if part is given */

#endif
