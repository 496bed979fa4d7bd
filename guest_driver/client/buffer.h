/* SPDX-License-Identifier: Apache-2.0 */
/* Text into memory of a fixed size. What does not fit is dropped, and `full` says so. No operating system, no allocation. */
#ifndef HALPMC_BUFFER_H
#define HALPMC_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
	char *text;
	size_t room;
	size_t length;
	bool full;
};

void buffer_bytes(struct buffer *buffer, const char *bytes, size_t length);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_decimal(struct buffer *buffer, uint64_t value);
void buffer_hex(struct buffer *buffer, uint64_t value, unsigned int digits); /* 0x and at least so many digits */

#endif
