/* SPDX-License-Identifier: Apache-2.0 */
#include "buffer.h"

void buffer_bytes(struct buffer *buffer, const char *bytes, size_t length)
{
	if (buffer->full || length > buffer->room - buffer->length) {
		buffer->full = true;
		return;
	}
	for (size_t i = 0; i < length; i++)
		buffer->text[buffer->length + i] = bytes[i];
	buffer->length += length;
}

void buffer_text(struct buffer *buffer, const char *text)
{
	size_t length = 0;

	while (text[length] != 0)
		length++;
	buffer_bytes(buffer, text, length);
}

void buffer_decimal(struct buffer *buffer, uint64_t value)
{
	char digits[20];
	size_t first = sizeof digits;

	do {
		digits[--first] = (char)('0' + value % 10);
		value /= 10;
	} while (value != 0);
	buffer_bytes(buffer, digits + first, sizeof digits - first);
}

void buffer_hex(struct buffer *buffer, uint64_t value, unsigned int digits)
{
	char text[16];
	size_t first = sizeof text;

	do {
		text[--first] = "0123456789abcdef"[value % 16];
		value /= 16;
	} while (first != 0 && (value != 0 || sizeof text - first < digits));
	buffer_text(buffer, "0x");
	buffer_bytes(buffer, text + first, sizeof text - first);
}
