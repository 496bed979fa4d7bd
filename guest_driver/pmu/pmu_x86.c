/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86: Intel's architectural PMU (SDM volume 3, "Performance Monitoring") and AMD's core counters (APM volume 2, "Performance
 * Monitoring Counters"). Without a virtual PMU, KVM answers the legacy registers with 0 and drops writes to them, but raises #GP for
 * GLOBAL_CTRL and RDPMC; so "no fault" proves nothing, and GLOBAL_CTRL is touched only where it is advertised.
 */
#include "pmu_internal.h"
#include "pmu_x86.h"

#if defined(__x86_64__) || defined(__i386__)

enum {
	INTEL_PMC0 = 0xc1,
	INTEL_PERFEVTSEL0 = 0x186,
	INTEL_FIXED_CTR0 = 0x309,
	INTEL_PERF_CAPABILITIES = 0x345,
	INTEL_FIXED_CTR_CTRL = 0x38d,
	INTEL_GLOBAL_STATUS = 0x38e,
	INTEL_GLOBAL_CTRL = 0x38f,
	INTEL_GLOBAL_OVF_CTRL = 0x390,
	INTEL_FULL_WIDTH_PMC0 = 0x4c1,
	INTEL_MAX_GENERAL = 8,
	INTEL_KNOWN_VERSIONS = 5,
	INTEL_KNOWN_FIXED = 4, /* instructions, cycles, reference cycles, slots; later ones count nothing that a loop must show */
};
#define AMD_LEGACY_CTL0 0xc0010000u
#define AMD_LEGACY_CTR0 0xc0010004u
#define AMD_CORE_CTL0 0xc0010200u /* control and counter alternate */
#define AMD_CORE_CTR0 0xc0010201u
#define AMD_GLOBAL_STATUS 0xc0000300u
#define AMD_GLOBAL_CTL 0xc0000301u
#define AMD_GLOBAL_STATUS_CLR 0xc0000302u
#define AMD_LEGACY_COUNTERS 4u
#define AMD_CORE_COUNTERS 6u
#define AMD_MAX_COUNTERS 16u
#define AMD_WIDTH 48u

#define AMD_CORE_RDPMC 6u /* behind the first six, RDPMC's numbers go to counters of other units */

#define INTEL_RDPMC_FIXED (1u << 30)
#define INTEL_GLOBAL_RESERVED (1ull << 63) /* of GLOBAL_CTRL */
#define RDPMC_NONE 0x3fffffffu             /* no CPU has so many */

#define SELECT_USER (1ull << 16)
#define SELECT_KERNEL (1ull << 17)
#define SELECT_INTERRUPT (1ull << 20)
#define SELECT_ENABLE (1ull << 22)
#define FIXED_USER_AND_KERNEL 3ull /* of 4 bits per fixed counter */

/* The same two event numbers on Intel (architectural) and, for instructions, on AMD. */
#define EVENT_CYCLES 0x3cu
#define EVENT_INSTRUCTIONS 0xc0u

#define OBSERVED_WITHOUT_PMU 4u

/* run() finds the overflow status and its clearing register beside the enable register. */
_Static_assert(INTEL_GLOBAL_STATUS == INTEL_GLOBAL_CTRL - 1 && INTEL_GLOBAL_OVF_CTRL == INTEL_GLOBAL_CTRL + 1, "Intel");
_Static_assert(AMD_GLOBAL_STATUS == AMD_GLOBAL_CTL - 1 && AMD_GLOBAL_STATUS_CLR == AMD_GLOBAL_CTL + 1, "AMD");

static int between(uint32_t reg, uint32_t first, uint32_t count)
{
	return reg - first < count;
}

static int is_pmu_msr(uint32_t reg)
{
	return between(reg, INTEL_PMC0, INTEL_MAX_GENERAL) || between(reg, INTEL_PERFEVTSEL0, INTEL_MAX_GENERAL) ||
	       between(reg, INTEL_FULL_WIDTH_PMC0, INTEL_MAX_GENERAL) || between(reg, INTEL_FIXED_CTR0, INTEL_KNOWN_FIXED) ||
	       between(reg, INTEL_FIXED_CTR_CTRL, 4) || reg == INTEL_PERF_CAPABILITIES ||
	       between(reg, AMD_LEGACY_CTL0, 2 * AMD_LEGACY_COUNTERS) || between(reg, AMD_CORE_CTL0, 2 * AMD_MAX_COUNTERS) ||
	       between(reg, AMD_GLOBAL_STATUS, 3);
}

void pmu_raw(uint32_t op, uint32_t reg, uint64_t *value)
{
	uint32_t low = (uint32_t)*value, high = (uint32_t)(*value >> 32);

	switch (op) {
	case PMU_MSR_READ:
		low = high = 0;
		if (is_pmu_msr(reg))
			__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(reg) : "memory");
		break;
	case PMU_MSR_WRITE:
		if (is_pmu_msr(reg) && reg != INTEL_PERF_CAPABILITIES)
			__asm__ volatile("wrmsr" : : "c"(reg), "a"(low), "d"(high) : "memory");
		return;
	case PMU_RDPMC:
		__asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(reg) : "memory");
		break;
	default:
		low = high = 0;
		break;
	}
	*value = (uint64_t)high << 32 | low;
}

#ifndef PMU_CPUID_SUPPLIED /* a simulation brings its own */
void pmu_cpuid(uint32_t leaf, uint32_t subleaf, struct pmu_cpuid *out)
{
	__asm__ volatile("cpuid" : "=a"(out->eax), "=b"(out->ebx), "=c"(out->ecx), "=d"(out->edx) : "a"(leaf), "c"(subleaf));
}
#endif

int pmu_cpuid_known(uint32_t leaf, struct pmu_cpuid *out)
{
	pmu_cpuid(leaf & 0x80000000u, 0, out);
	/* Intel answers a leaf that does not exist with the contents of another one, so ask for the highest first. */
	if (out->eax < leaf) {
		out->eax = out->ebx = out->ecx = out->edx = 0;
		return 0;
	}
	pmu_cpuid(leaf, 0, out);
	return 1;
}

void pmu_loop(uint32_t iterations)
{
	if (iterations == 0)
		return;
	__asm__ volatile("1:\n\t"
			 "nop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\t"
			 "subl $1, %0\n\t"
			 "jnz 1b"
			 : "+r"(iterations)
			 :
			 : "cc", "memory");
}

static int is_amd(void)
{
	struct pmu_cpuid id;

	pmu_cpuid(0, 0, &id);
	return (id.ebx == 0x68747541u && id.edx == 0x69746e65u && id.ecx == 0x444d4163u) || /* AuthenticAMD */
	       (id.ebx == 0x6f677948u && id.edx == 0x6e65476eu && id.ecx == 0x656e6975u);   /* HygonGenuine */
}

static void describe_intel(struct pmu_report *report, const struct pmu_cpuid *leaf)
{
	uint32_t fixed = leaf->edx & 0x1fu;

	report->interface = PMU_INTEL_ARCH;
	report->version = leaf->eax & 0xffu;
	report->general = leaf->eax >> 8 & 0xffu;
	report->width = leaf->eax >> 16 & 0xffu;
	report->fixed = report->version > 1 ? fixed : 0;
	/* Version 5 lists fixed counters in ECX too, and not necessarily from 0 on. */
	if (report->version >= 5)
		for (uint32_t i = fixed; i < 32; i++)
			report->fixed += leaf->ecx >> i & 1u;
}

static void describe_amd(struct pmu_report *report)
{
	struct pmu_cpuid id;

	report->interface = PMU_AMD;
	report->width = AMD_WIDTH;
	if (pmu_cpuid_known(0x80000001u, &id) && (id.ecx >> 23 & 1u)) {
		report->version = 1;
		report->general = AMD_CORE_COUNTERS;
	}
	if (pmu_cpuid_known(0x80000022u, &id) && (id.eax & 1u)) {
		report->interface = PMU_AMD_V2;
		report->version = 2;
		report->general = id.ebx & 0xfu;
	}
}

void pmu_describe(struct pmu_report *report)
{
	struct pmu_cpuid id;

	report->interface = PMU_NONE;
	report->version = report->general = report->fixed = report->width = 0;
	report->loop = report->counters = report->fault = 0;
	if (pmu_cpuid_known(0xa, &id) && (id.eax & 0xffu) != 0)
		describe_intel(report, &id);
	else if (is_amd())
		describe_amd(report);
}

int pmu_understood(const struct pmu_report *report)
{
	return report->interface != PMU_INTEL_ARCH || report->version <= INTEL_KNOWN_VERSIONS;
}

uint32_t pmu_provoke(int write)
{
	uint64_t value = 0, before = 0;
	uint32_t fault;

	if (!write)
		return pmu_guarded(PMU_RDPMC, RDPMC_NONE, &value);
	fault = pmu_guarded(PMU_MSR_READ, INTEL_GLOBAL_CTRL, &before);
	if (fault != 0)
		return fault;
	value = INTEL_GLOBAL_RESERVED;
	fault = pmu_guarded(PMU_MSR_WRITE, INTEL_GLOBAL_CTRL, &value);
	if (fault == 0)
		pmu_guarded(PMU_MSR_WRITE, INTEL_GLOBAL_CTRL, &before);
	return fault;
}

static void begin(struct pmu_recipe *recipe, uint32_t kind, uint32_t index, uint32_t event, uint32_t width)
{
	*recipe = (struct pmu_recipe){ .kind = kind, .index = index, .event = event, .width = width,
				       .read_op = PMU_MSR_READ, .write_op = PMU_MSR_WRITE };
	recipe->expectation = event == EVENT_INSTRUCTIONS ? PMU_INSTRUCTIONS : PMU_NONZERO;
}

static void rdpmc(struct pmu_recipe *recipe, uint32_t number)
{
	recipe->has_rdpmc = 1;
	recipe->rdpmc = number;
}

/* Control register, value register, and the global enable register if there is one (global != 0; its neighbours hold the status). */
static void run(struct pmu_visitor *visitor, struct pmu_report *report, struct pmu_recipe *recipe, uint32_t control, uint64_t on,
		uint32_t value, uint32_t global, uint64_t global_on)
{
	recipe->value = value;
	recipe->enable = control;
	recipe->enable_bits = recipe->kind == PMU_FIXED ? on : SELECT_ENABLE;
	recipe->interrupt_bits = recipe->kind == PMU_FIXED ? 0 : SELECT_INTERRUPT;
	if (global) {
		recipe->shared = global;
		recipe->shared_bits = global_on;
		recipe->status = global - 1;
		recipe->status_clear = global + 1;
		recipe->status_bit = global_on;
		recipe->saved[recipe->saved_count++] = global;
		recipe->clear[recipe->clear_count++] = (struct pmu_write){ global, 0 };
		recipe->stop[recipe->stop_count++] = (struct pmu_write){ global, 0 };
	}
	recipe->saved[recipe->saved_count++] = control;
	recipe->saved[recipe->saved_count++] = value;
	recipe->clear[recipe->clear_count++] = (struct pmu_write){ control, 0 };
	recipe->clear[recipe->clear_count++] = (struct pmu_write){ value, 0 };
	recipe->start[recipe->start_count++] = (struct pmu_write){ control, on };
	if (global)
		recipe->start[recipe->start_count++] = (struct pmu_write){ global, global_on };
	recipe->stop[recipe->stop_count++] = (struct pmu_write){ control, 0 };
	visitor->visit(visitor, report, recipe);
}

/* Whether counters can be written in full width (else a write sign-extends 32 bits): IA32_PERF_CAPABILITIES, behind CPUID 1:ECX[15]. */
static int full_width(void)
{
	struct pmu_cpuid id;
	uint64_t capabilities = 0;

	if (!pmu_cpuid_known(1, &id) || !(id.ecx >> 15 & 1u))
		return 0;
	return pmu_guarded(PMU_MSR_READ, INTEL_PERF_CAPABILITIES, &capabilities) == 0 && (capabilities >> 13 & 1u);
}

static void each_intel(struct pmu_visitor *visitor, struct pmu_report *report)
{
	struct pmu_recipe recipe;
	struct pmu_cpuid id;
	uint32_t value0 = full_width() ? INTEL_FULL_WIDTH_PMC0 : INTEL_PMC0;
	uint32_t global = report->version >= 2 ? INTEL_GLOBAL_CTRL : 0;
	uint32_t event, fixed_width;

	pmu_cpuid_known(0xa, &id);
	/* EBX: a set bit says that the event is NOT there; bit 0 cycles, bit 1 instructions; EAX[31:24] says how many bits are valid. */
	event = (id.ebx >> 1 & 1u) && !(id.ebx & 1u) ? EVENT_CYCLES : EVENT_INSTRUCTIONS;
	for (uint32_t i = 0; i < report->general && i < INTEL_MAX_GENERAL; i++) {
		begin(&recipe, PMU_GENERAL, i, event, report->width);
		rdpmc(&recipe, i);
		run(visitor, report, &recipe, INTEL_PERFEVTSEL0 + i, event | SELECT_USER | SELECT_KERNEL | SELECT_ENABLE, value0 + i, global,
		    1ull << i);
	}
	if (report->version < 2)
		return;
	fixed_width = id.edx >> 5 & 0xffu;
	for (uint32_t i = 0; i < INTEL_KNOWN_FIXED; i++) {
		if (i >= (id.edx & 0x1fu) && !(report->version >= 5 && (id.ecx >> i & 1u)))
			continue;
		begin(&recipe, PMU_FIXED, i, i, fixed_width);
		rdpmc(&recipe, INTEL_RDPMC_FIXED | i);
		recipe.expectation = i == 0 ? PMU_INSTRUCTIONS : PMU_NONZERO;
		run(visitor, report, &recipe, INTEL_FIXED_CTR_CTRL, FIXED_USER_AND_KERNEL << (4 * i), INTEL_FIXED_CTR0 + i, global,
		    1ull << (32 + i));
	}
}

static void each_amd(struct pmu_visitor *visitor, struct pmu_report *report)
{
	struct pmu_recipe recipe;
	int core = report->general != 0;
	uint32_t count = core ? report->general : AMD_LEGACY_COUNTERS;
	uint32_t global = report->interface == PMU_AMD_V2 ? AMD_GLOBAL_CTL : 0;

	for (uint32_t i = 0; i < count && i < AMD_MAX_COUNTERS; i++) {
		begin(&recipe, PMU_GENERAL, i, EVENT_INSTRUCTIONS, AMD_WIDTH);
		if (i < AMD_CORE_RDPMC)
			rdpmc(&recipe, i);
		run(visitor, report, &recipe, core ? AMD_CORE_CTL0 + 2 * i : AMD_LEGACY_CTL0 + i,
		    EVENT_INSTRUCTIONS | SELECT_USER | SELECT_KERNEL | SELECT_ENABLE, core ? AMD_CORE_CTR0 + 2 * i : AMD_LEGACY_CTR0 + i,
		    global, 1ull << i);
	}
}

void pmu_each_counter(struct pmu_report *report, struct pmu_visitor *visitor)
{
	switch (report->interface) {
	case PMU_INTEL_ARCH:
		each_intel(visitor, report);
		break;
	case PMU_AMD:
	case PMU_AMD_V2:
		each_amd(visitor, report);
		break;
	default: /* nothing advertised: what does reading a counter do here? */
		for (uint32_t i = 0; i < OBSERVED_WITHOUT_PMU; i++)
			pmu_observe(report, PMU_GENERAL, i, PMU_RDPMC, i);
		break;
	}
}
#endif
