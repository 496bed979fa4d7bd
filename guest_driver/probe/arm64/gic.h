/* SPDX-License-Identifier: Apache-2.0 */
/* The interrupt controller of QEMU's virt machine, version 2 or 3, as far as one interrupt of the boot CPU needs it. */
#ifndef HALPMC_PROBE_GIC_H
#define HALPMC_PROBE_GIC_H

#include <stdint.h>

#define GIC_PMU 23u       /* the PMU's interrupt on virt, private to each CPU (QEMU: VIRTUAL_PMU_IRQ) */
#define GIC_SPECIAL 1020u /* from here on acknowledging found nothing */

void gic_enable(uint32_t number); /* a private interrupt; the CPU's own mask stays as it is */
void gic_disable(uint32_t number);
uint32_t gic_acknowledge(void);   /* the number of what is pending */
void gic_end(uint32_t number);

#endif
