/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that a seed determines: SplitMix64, its outputs in little-endian order. */
#ifndef HALPMC_RANDOM_H
#define HALPMC_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(uint64_t seed, uint8_t *to, size_t length);

#endif
