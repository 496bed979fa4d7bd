/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HALPMC_PMU_ARM64_H
#define HALPMC_PMU_ARM64_H

#define PMU_ARM_MAX_EVENT_COUNTERS 31u

/* The register numbers of PMU_SYSREG_READ and PMU_SYSREG_WRITE. EVCNTR and EVTYPER take 31 numbers each. */
enum pmu_sysreg {
	PMU_PMCR = 1,
	PMU_PMCNTENSET,
	PMU_PMCNTENCLR,
	PMU_PMCCNTR,
	PMU_PMCCFILTR,
	PMU_PMOVSCLR,
	PMU_PMOVSSET,
	PMU_PMINTENSET,  /* this and the next: undefined at EL0 */
	PMU_PMINTENCLR,
	PMU_PMSWINC,     /* write only */
	PMU_PMCEID0,     /* this and those below: read only */
	PMU_PMCEID1,
	PMU_ID_AA64DFR0,
	PMU_MIDR,
	PMU_CURRENT_EL,
	PMU_EVCNTR0 = 0x100,
	PMU_EVTYPER0 = 0x200,
};

#endif
