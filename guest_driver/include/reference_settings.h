/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of the reference HAL, in a page that it shares with the client: they can change while the drivers are loaded, so that one
 * saved state of a guest serves every configuration, and reading them costs a call nothing.
 */
#ifndef HALPMC_REFERENCE_SETTINGS_H
#define HALPMC_REFERENCE_SETTINGS_H

#include <stdint.h>

#define REFERENCE_SETTINGS_NAME L"halpmc-reference-hal"

/* The client fills in the rest and then counts `changes` up; the HAL takes them over as soon as nothing is granted. */
struct reference_settings {
	volatile int32_t changes;
	uint32_t shared; /* generation of the contract: 0 exclusive, 1 shared */
	uint32_t refuse; /* on a machine without a PMU: 0 grant (as the Allocate page warns), 1 refuse with INSUFFICIENT_RESOURCES */
	uint32_t defect; /* a number of defects.h; 0 none */
};

_Static_assert(sizeof(struct reference_settings) == 16, "struct reference_settings");

#endif
