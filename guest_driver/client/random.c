/* SPDX-License-Identifier: Apache-2.0 */
#include "random.h"

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void random_bytes(uint64_t seed, uint8_t *to, size_t length)
{
	uint64_t value = 0;

	for (size_t i = 0; i < length; i++) {
		if (i % 8 == 0)
			value = next(&seed);
		to[i] = (uint8_t)(value >> (i % 8 * 8));
	}
}
