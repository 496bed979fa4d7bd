/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

static void put_quoted(struct buffer *buffer, const char *utf8)
{
	buffer_bytes(buffer, "\"", 1);
	for (; *utf8 != 0; utf8++) {
		if (*utf8 == '"' || *utf8 == '\\') {
			buffer_bytes(buffer, "\\", 1);
			buffer_bytes(buffer, utf8, 1);
		} else if ((unsigned char)*utf8 < 0x20) {
			buffer_text(buffer, *utf8 < 0x10 ? "\\u000" : "\\u001");
			buffer_bytes(buffer, &"0123456789abcdef"[*utf8 & 0xF], 1);
		} else {
			buffer_bytes(buffer, utf8, 1);
		}
	}
	buffer_bytes(buffer, "\"", 1);
}

static void start(struct json_writer *writer, const char *name)
{
	if (writer->comma)
		buffer_bytes(writer->buffer, ",", 1);
	writer->comma = true;
	if (name != NULL) {
		put_quoted(writer->buffer, name);
		buffer_bytes(writer->buffer, ":", 1);
	}
}

void json_open(struct json_writer *writer, const char *name, char bracket)
{
	start(writer, name);
	buffer_bytes(writer->buffer, &bracket, 1);
	writer->comma = false;
}

void json_close(struct json_writer *writer, char bracket)
{
	buffer_bytes(writer->buffer, &bracket, 1);
	writer->comma = true;
}

void json_put_u32(struct json_writer *writer, const char *name, uint32_t number)
{
	start(writer, name);
	buffer_decimal(writer->buffer, number);
}

void json_put_hex(struct json_writer *writer, const char *name, uint64_t number)
{
	start(writer, name);
	buffer_bytes(writer->buffer, "\"", 1);
	buffer_hex(writer->buffer, number, 1);
	buffer_bytes(writer->buffer, "\"", 1);
}

void json_put_bool(struct json_writer *writer, const char *name, bool truth)
{
	start(writer, name);
	buffer_text(writer->buffer, truth ? "true" : "false");
}

void json_put_null(struct json_writer *writer, const char *name)
{
	start(writer, name);
	buffer_text(writer->buffer, "null");
}

void json_put_string(struct json_writer *writer, const char *name, const char *utf8)
{
	start(writer, name);
	put_quoted(writer->buffer, utf8);
}

void json_put_bytes(struct json_writer *writer, const char *name, const uint8_t *bytes, size_t length)
{
	start(writer, name);
	buffer_bytes(writer->buffer, "\"", 1);
	for (size_t i = 0; i < length; i++) {
		buffer_bytes(writer->buffer, &"0123456789abcdef"[bytes[i] >> 4], 1);
		buffer_bytes(writer->buffer, &"0123456789abcdef"[bytes[i] & 0xF], 1);
	}
	buffer_bytes(writer->buffer, "\"", 1);
}
