/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

struct scanner {
	const char *at, *end;
};

static bool scan_value(struct scanner *scanner, unsigned int depth);

static void skip_space(struct scanner *scanner)
{
	while (scanner->at < scanner->end &&
	       (*scanner->at == ' ' || *scanner->at == '\t' || *scanner->at == '\n' || *scanner->at == '\r'))
		scanner->at++;
}

static bool take(struct scanner *scanner, char c)
{
	if (scanner->at >= scanner->end || *scanner->at != c)
		return false;
	scanner->at++;
	return true;
}

static bool take_word(struct scanner *scanner, const char *word)
{
	for (; *word != 0; word++) {
		if (!take(scanner, *word))
			return false;
	}
	return true;
}

static size_t take_digits(struct scanner *scanner)
{
	const char *start = scanner->at;

	while (scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9')
		scanner->at++;
	return (size_t)(scanner->at - start);
}

static bool scan_number(struct scanner *scanner)
{
	take(scanner, '-');
	if (!take(scanner, '0') && take_digits(scanner) == 0)
		return false;
	if (take(scanner, '.') && take_digits(scanner) == 0)
		return false;
	if (take(scanner, 'e') || take(scanner, 'E')) {
		if (!take(scanner, '+'))
			take(scanner, '-');
		return take_digits(scanner) != 0;
	}
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Behind \u: the code unit, or -1. */
static int32_t take_unit(struct scanner *scanner)
{
	int32_t unit = 0;

	for (int i = 0; i < 4; i++) {
		int digit = scanner->at < scanner->end ? hex_digit(*scanner->at) : -1;

		if (digit < 0)
			return -1;
		unit = unit * 16 + digit;
		scanner->at++;
	}
	return unit;
}

/* Behind a backslash: the code point, or -1. */
static int32_t take_escape(struct scanner *scanner)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	int32_t unit, low;

	if (!take(scanner, 'u')) {
		for (int i = 0; letters[i] != 0; i++) {
			if (take(scanner, letters[i]))
				return meanings[i];
		}
		return -1;
	}
	unit = take_unit(scanner);
	if (unit < 0xD800 || unit > 0xDFFF)
		return unit;
	if (unit > 0xDBFF || !take_word(scanner, "\\u"))
		return -1;
	low = take_unit(scanner);
	if (low < 0xDC00 || low > 0xDFFF)
		return -1;
	return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

/* One UTF-8 sequence as RFC 3629 has it: the code point, or -1. */
static int32_t take_utf8(struct scanner *scanner)
{
	static const int32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)*scanner->at++;
	int more = first < 0x80 ? 0 : first >= 0xC2 && first < 0xE0 ? 1 : first >= 0xE0 && first < 0xF0 ? 2 : first >= 0xF0 && first < 0xF5 ? 3 : -1;
	int32_t point;

	if (more < 0)
		return -1;
	point = more == 0 ? first : first & (0x3F >> more);
	for (int i = 0; i < more; i++) {
		if (scanner->at >= scanner->end || ((unsigned char)*scanner->at & 0xC0) != 0x80)
			return -1;
		point = point << 6 | (*scanner->at++ & 0x3F);
	}
	if (point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
		return -1;
	return point;
}

/* The next character inside a string: its code point; -1 when it is wrong. */
static int32_t take_character(struct scanner *scanner)
{
	if (take(scanner, '\\'))
		return take_escape(scanner);
	if ((unsigned char)*scanner->at < 0x20)
		return -1;
	return take_utf8(scanner);
}

static bool scan_string(struct scanner *scanner)
{
	if (!take(scanner, '"'))
		return false;
	while (!take(scanner, '"')) {
		if (scanner->at >= scanner->end || take_character(scanner) < 0)
			return false;
	}
	return true;
}

/* An array, or with `named` an object. */
static bool scan_container(struct scanner *scanner, char close, bool named, unsigned int depth)
{
	scanner->at++;
	skip_space(scanner);
	if (take(scanner, close))
		return true;
	for (;;) {
		if (named) {
			skip_space(scanner);
			if (!scan_string(scanner))
				return false;
			skip_space(scanner);
			if (!take(scanner, ':'))
				return false;
		}
		if (!scan_value(scanner, depth + 1))
			return false;
		if (take(scanner, close))
			return true;
		if (!take(scanner, ','))
			return false;
	}
}

/* With the white space around it. */
static bool scan_value(struct scanner *scanner, unsigned int depth)
{
	bool valid;

	skip_space(scanner);
	if (scanner->at >= scanner->end || depth > JSON_MAX_DEPTH)
		return false;
	switch (*scanner->at) {
	case '{': valid = scan_container(scanner, '}', true, depth); break;
	case '[': valid = scan_container(scanner, ']', false, depth); break;
	case '"': valid = scan_string(scanner); break;
	case 't': valid = take_word(scanner, "true"); break;
	case 'f': valid = take_word(scanner, "false"); break;
	case 'n': valid = take_word(scanner, "null"); break;
	default: valid = scan_number(scanner); break;
	}
	skip_space(scanner);
	return valid;
}

/* The span of the value that starts here, in text that is known to be valid. */
static struct json span(struct scanner *scanner)
{
	struct json value;

	skip_space(scanner);
	value.begin = scanner->at;
	scan_value(scanner, 0);
	value.end = scanner->at;
	while (value.end > value.begin && (value.end[-1] == ' ' || value.end[-1] == '\t' || value.end[-1] == '\n' || value.end[-1] == '\r'))
		value.end--;
	return value;
}

bool json_parse(const char *text, size_t length, struct json *value)
{
	struct scanner scanner = { text, text + length };

	if (!scan_value(&scanner, 0) || scanner.at != scanner.end)
		return false;
	scanner.at = text;
	*value = span(&scanner);
	return true;
}

bool json_is_object(struct json value)
{
	return *value.begin == '{';
}

bool json_is_array(struct json value)
{
	return *value.begin == '[';
}

bool json_is_null(struct json value)
{
	return *value.begin == 'n';
}

bool json_next(struct json container, const char **cursor, struct json *key, struct json *value)
{
	struct scanner scanner = { *cursor != NULL ? *cursor : container.begin + 1, container.end };

	skip_space(&scanner);
	if (*cursor != NULL && !take(&scanner, ',')) /* the closing bracket */
		return false;
	skip_space(&scanner);
	if (scanner.at >= scanner.end - 1) /* an empty container */
		return false;
	if (json_is_object(container)) {
		*key = span(&scanner);
		take(&scanner, ':');
	}
	*value = span(&scanner);
	*cursor = scanner.at;
	return true;
}

bool json_member(struct json object, const char *name, struct json *value)
{
	const char *cursor = NULL;
	struct json key;

	if (!json_is_object(object))
		return false;
	while (json_next(object, &cursor, &key, value)) {
		if (json_equals(key, name))
			return true;
	}
	return false;
}

bool json_u32(struct json value, uint32_t *number)
{
	uint64_t sum = 0;

	for (const char *at = value.begin; at < value.end; at++) {
		if (*at < '0' || *at > '9')
			return false;
		sum = sum * 10 + (uint64_t)(*at - '0');
		if (sum > UINT32_MAX)
			return false;
	}
	*number = (uint32_t)sum;
	return true;
}

bool json_hex(struct json value, uint64_t *number)
{
	struct scanner scanner = { value.begin, value.end };
	uint64_t sum = 0;
	int digits = 0;

	if (!take_word(&scanner, "\"0x"))
		return false;
	while (!take(&scanner, '"')) {
		int digit = hex_digit(*scanner.at++);

		if (digit < 0 || ++digits > 16)
			return false;
		sum = sum << 4 | (uint64_t)digit;
	}
	*number = sum;
	return digits != 0;
}

bool json_bool(struct json value, bool *truth)
{
	*truth = *value.begin == 't';
	return *value.begin == 't' || *value.begin == 'f';
}

bool json_equals(struct json string, const char *ascii)
{
	struct scanner scanner = { string.begin, string.end };

	if (!take(&scanner, '"'))
		return false;
	for (; !take(&scanner, '"'); ascii++) {
		if (*ascii == 0 || take_character(&scanner) != *ascii)
			return false;
	}
	return *ascii == 0;
}

static size_t encode_utf8(int32_t point, char *to)
{
	int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;

	if (more == 0) {
		to[0] = (char)point;
		return 1;
	}
	to[0] = (char)((0xF0 << (3 - more)) | (point >> (6 * more)));
	for (int i = 1; i <= more; i++)
		to[i] = (char)(0x80 | ((point >> (6 * (more - i))) & 0x3F));
	return (size_t)more + 1;
}

bool json_string(struct json value, char *utf8, size_t room)
{
	struct scanner scanner = { value.begin, value.end };
	size_t length = 0;

	if (!take(&scanner, '"'))
		return false;
	while (!take(&scanner, '"')) {
		int32_t point = take_character(&scanner);

		if (point <= 0 || room - length < 5) /* the longest sequence and the end */
			return false;
		length += encode_utf8(point, utf8 + length);
	}
	utf8[length] = 0;
	return true;
}
