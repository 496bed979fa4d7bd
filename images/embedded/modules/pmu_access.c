// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Opens the PMUv3 registers to EL0 on every CPU (PMUSERENR_EL0.{EN,SW,CR,ER}), so that a driver which Wine runs at EL0 executes the
 * same MRS and MSR instructions as one that Windows runs at EL1. Without a PMUv3 it does nothing: the register is undefined there.
 * Linux closes them again where perf counts, so perf must not be used in this guest.
 */
#include <linux/cpuhotplug.h>
#include <linux/module.h>
#include <asm/sysreg.h>

#define EL0_ACCESS 0xf /* EN, SW, CR, ER */
#define PMUVER(id_aa64dfr0) ((id_aa64dfr0) >> 8 & 0xf)
#define PMUVER_NONE 0x0
#define PMUVER_OTHER 0xf /* a PMU, but not PMUv3 */

static int state;

/* Called on each CPU that is online now or comes online later. */
static int open_to_el0(unsigned int cpu)
{
	u64 version = PMUVER(read_sysreg(id_aa64dfr0_el1));

	if (version != PMUVER_NONE && version != PMUVER_OTHER) {
		write_sysreg(EL0_ACCESS, pmuserenr_el0);
		isb();
	}
	return 0;
}

static int __init pmu_access_init(void)
{
	state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "pmu_access:online", open_to_el0, NULL);
	return state < 0 ? state : 0;
}
module_init(pmu_access_init);

/* No exit: what was opened stays open, so the module stays loaded. */

MODULE_DESCRIPTION("PMUv3 access from EL0");
MODULE_LICENSE("Dual MIT/GPL");
