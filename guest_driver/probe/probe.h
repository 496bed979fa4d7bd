/* SPDX-License-Identifier: Apache-2.0 */
/* The PMU probe: a freestanding image that boots, writes one JSON line and switches the machine off. */
#ifndef HALPMC_PROBE_H
#define HALPMC_PROBE_H

#include <stdint.h>

struct pmu_counter;
struct pmu_report;

/* What one counter's overflow did. The first six are 1 or 0. */
struct probe_overflow {
	uint32_t enabled;     /* its interrupt could be enabled, and reads so */
	uint32_t disabled;    /* and disabled again */
	uint32_t masked;      /* disabled, a wrap sets the status and interrupts nobody */
	uint32_t cleared;     /* that status can be cleared */
	uint32_t delivered;   /* enabled, a wrap interrupts once, with the PMU's number and this counter's status alone, which clears */
	uint32_t by_software; /* a status set by software interrupts in the same way */
	uint32_t interrupts;  /* how often the wrap interrupted */
	uint32_t number;      /* the interrupt's number */
	uint64_t status;      /* that its handler read */
};
typedef void probe_overflow_done(const struct pmu_report *report, const struct pmu_counter *counter, const struct probe_overflow *result);

/* Supplied by each platform. */
extern const char probe_arch[];
void probe_put(char c);                            /* one character of the answer */
void probe_registers(void);                        /* probe_register() for each ID register */
_Noreturn void probe_off(void);                    /* end the machine */
/* Try the overflow interrupt of each counter that counts; 0, or why that is not tried. Changes the PMU's registers for good. */
const char *probe_overflows(const struct pmu_report *report, probe_overflow_done *done);

/* Supplied by the common part. */
_Noreturn void probe_main(void);                   /* entered by the platform's start code, on the boot CPU, interrupts masked */
_Noreturn void probe_died(uint64_t what, uint64_t where); /* an exception outside of a guard: say so, and end the machine */
void probe_register(const char *name, uint32_t leaf, const char *part, uint64_t value); /* name, or name.leaf.part if part is given */

#endif
