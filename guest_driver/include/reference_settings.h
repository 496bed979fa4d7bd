/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of the reference HAL, in a page that it shares with the client: they can change while the drivers are loaded, so that one
 * saved state of a guest serves every configuration, and reading them costs a call nothing.
 */
#ifndef HALPMC_REFERENCE_SETTINGS_H
#define HALPMC_REFERENCE_SETTINGS_H

#include <stdint.h>

#define REFERENCE_SETTINGS_NAME L"halpmc-reference-hal"
#define REFERENCE_DEFECT_ROOM 32u

/* The client fills in the rest and then counts `changes` up; the HAL takes them over as soon as nothing is granted. */
struct reference_settings {
	volatile int32_t changes;
	uint32_t shared; /* generation of the contract: 0 exclusive, 1 shared */
	uint32_t refuse; /* on a machine without a PMU: 0 grant (as the Allocate page warns), 1 refuse with INSUFFICIENT_RESOURCES */
	char defect[REFERENCE_DEFECT_ROOM]; /* name of a defect with its end; empty: none */
};

_Static_assert(sizeof(struct reference_settings) == 12 + REFERENCE_DEFECT_ROOM, "struct reference_settings");

#endif
