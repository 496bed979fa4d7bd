/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting calls of the overflow handler: no lock, no call, no page that could be absent, so that it works at PROFILE_LEVEL and on all
 * CPUs at once. Freestanding.
 */
#ifndef HALPMC_OVERFLOW_LOG_H
#define HALPMC_OVERFLOW_LOG_H

#include "pmctest.h"

void overflow_note(uint64_t bits, uint64_t owner);

/* What was counted so far. A call that is under way may be in one number and not yet in another. */
void overflow_read(struct pmctest_overflows *result);

#endif
