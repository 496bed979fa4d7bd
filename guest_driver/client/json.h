/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON without an allocation: a line is validated once as a whole, then read in place. A value is a span of that line. The writer
 * appends to a buffer and puts the commas.
 */
#ifndef HALPMC_JSON_H
#define HALPMC_JSON_H

#include "buffer.h"

#define JSON_MAX_DEPTH 32

struct json {
	const char *begin, *end; /* of one valid value, without white space around it */
};

/* FALSE unless the text is one JSON value (RFC 8259: UTF-8, unpaired surrogates and deep nesting refused). */
bool json_parse(const char *text, size_t length, struct json *value);

bool json_is_object(struct json value);
bool json_is_array(struct json value);
bool json_is_null(struct json value);

/* The member with this ASCII name; the first, if it is there twice. */
bool json_member(struct json object, const char *name, struct json *value);

/*
 * Walk an array or an object: start with *cursor = NULL; FALSE at the end. `key` is set for objects.
 */
bool json_next(struct json container, const char **cursor, struct json *key, struct json *value);

/* FALSE when the value is of another kind or out of range. */
bool json_u32(struct json value, uint32_t *number); /* an integer without exponent, 0 to 2^32-1 */
bool json_hex(struct json value, uint64_t *number); /* a string "0x" and 1 to 16 digits */
bool json_bool(struct json value, bool *truth);
bool json_equals(struct json string, const char *ascii);
bool json_string(struct json value, char *utf8, size_t room); /* decoded, NUL-terminated; FALSE with a NUL inside */

struct json_writer {
	struct buffer *buffer;
	bool comma; /* before the next value */
};

/* `name` is NULL inside arrays and at the top. */
void json_open(struct json_writer *writer, const char *name, char bracket);
void json_close(struct json_writer *writer, char bracket);
void json_put_u32(struct json_writer *writer, const char *name, uint32_t number);
void json_put_hex(struct json_writer *writer, const char *name, uint64_t number);
void json_put_bool(struct json_writer *writer, const char *name, bool truth);
void json_put_null(struct json_writer *writer, const char *name);
void json_put_string(struct json_writer *writer, const char *name, const char *utf8);
void json_put_bytes(struct json_writer *writer, const char *name, const uint8_t *bytes, size_t length); /* as hexadecimal digits */

#endif
