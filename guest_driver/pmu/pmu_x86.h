/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HALPMC_PMU_X86_H
#define HALPMC_PMU_X86_H

#include <stdint.h>

struct pmu_cpuid {
	uint32_t eax, ebx, ecx, edx;
};

/* CPUID as it is; compile pmu_x86.c with PMU_CPUID_SUPPLIED to bring another one. */
void pmu_cpuid(uint32_t leaf, uint32_t subleaf, struct pmu_cpuid *out);

/* Subleaf 0 of a leaf, zeroed and 0 when the CPU does not have that leaf. */
int pmu_cpuid_known(uint32_t leaf, struct pmu_cpuid *out);

#endif
