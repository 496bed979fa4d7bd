/* SPDX-License-Identifier: Apache-2.0 */
/* Between the common core and the code of one architecture. Hosts include pmu.h only. */
#ifndef HALPMC_PMU_INTERNAL_H
#define HALPMC_PMU_INTERNAL_H

#include "pmu.h"

#define PMU_LOOP_INSTRUCTIONS 10u /* per iteration of pmu_loop(), on every architecture */
#define PMU_LOOP_SLACK 20000u     /* instructions between start and stop that are not the loop: guards, a short interrupt */
#define PMU_SOFTWARE_WRITES 5u    /* how often PMU_EXACT triggers its event */

/* What a working counter must show; never equality, except where the event happens only when software says so. */
enum pmu_expectation {
	PMU_INSTRUCTIONS = 0, /* at least the loop's, at most 1.2 times that plus slack */
	PMU_NONZERO = 1,      /* more than 0: cycles have no fixed relation to the loop */
	PMU_EXACT = 2,        /* exactly PMU_SOFTWARE_WRITES */
};

struct pmu_write {
	uint32_t reg;
	uint64_t value;
};

#define PMU_STEPS 4u

/* How to work one counter: registers in the order in which they are saved (and, backwards, restored), and the writes of each phase. */
struct pmu_recipe {
	uint32_t kind, index, event; /* as in struct pmu_counter */
	uint32_t expectation;        /* enum pmu_expectation */
	uint32_t width;              /* bits of this counter */
	uint32_t read_op, write_op;  /* enum pmu_op */
	uint32_t value;              /* the register that holds the count */
	struct pmu_write trigger;    /* PMU_EXACT: the write that makes one event */
	uint32_t has_rdpmc, rdpmc;   /* RDPMC reads this counter under that number */
	uint32_t status, status_clear; /* registers of the overflow status: to read, to clear bits in */
	uint64_t status_bit;         /* of this counter; 0: there is no such register */
	uint32_t saved[PMU_STEPS], saved_count;
	uint32_t enable;             /* the one of these that enables this counter, */
	uint64_t enable_bits;        /* by these bits */
	uint32_t shared;             /* a register that other counters have bits in, 0: none; */
	uint64_t shared_bits;        /* this counter's */
	uint64_t interrupt_bits;     /* enable the overflow's interrupt, with `enable_bits`, or */
	struct pmu_write arm, disarm; /* do so by a register of their own; register 0: there is none */
	struct pmu_write clear[PMU_STEPS], start[PMU_STEPS], stop[PMU_STEPS];
	uint32_t clear_count, start_count, stop_count;
};

/* One register access; keeps the first fault in the counter's entry and in the report, and does nothing after a fault. */
uint64_t pmu_read(struct pmu_report *report, struct pmu_counter *counter, uint32_t op, uint32_t reg);
void pmu_write(struct pmu_report *report, struct pmu_counter *counter, uint32_t op, uint32_t reg, uint64_t value);

/* A new entry of the report; NULL when the table is full. */
struct pmu_counter *pmu_entry(struct pmu_report *report, uint32_t kind, uint32_t index, uint32_t event);

/* Without a PMU: append an entry that says what reading this register did while the loop ran. Never PMU_COUNTING. */
void pmu_observe(struct pmu_report *report, uint32_t kind, uint32_t index, uint32_t op, uint32_t reg);

/* Work one counter as the recipe says and append the entry. */
void pmu_run(struct pmu_report *report, const struct pmu_recipe *recipe);

/* What is done with each counter. */
struct pmu_visitor {
	void (*visit)(struct pmu_visitor *visitor, struct pmu_report *report, const struct pmu_recipe *recipe);
};

/* Supplied by each architecture, beside what pmu.h names: visit every counter; without a PMU, pmu_observe() some. */
void pmu_each_counter(struct pmu_report *report, struct pmu_visitor *visitor);

#endif
