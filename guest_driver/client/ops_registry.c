/* SPDX-License-Identifier: Apache-2.0 */
/* Values and keys below HKEY_LOCAL_MACHINE. */
#include "client.h"

#define NAME_ROOM 256u

static wchar_t path[PATH_ROOM], name[NAME_ROOM], text[VALUE_ROOM];

/* The key's path below HKLM, or NULL. */
static const wchar_t *arg_key(struct exchange *exchange)
{
	static const wchar_t root[] = L"HKLM\\";
	size_t length = 0;

	arg_wide(exchange, "path", path, PATH_ROOM);
	while (root[length] != 0 && path[length] == root[length])
		length++;
	if (!failed(exchange) && (root[length] != 0 || path[length] == 0))
		fail_protocol(exchange, "path does not start with HKLM\\ and a key");
	return failed(exchange) ? NULL : path + length;
}

static bool succeeded(struct exchange *exchange, LSTATUS status, const char *what)
{
	if (status != ERROR_SUCCESS)
		fail(exchange, "win32", (uint32_t)status, what);
	return status == ERROR_SUCCESS;
}

void op_registry_set(struct exchange *exchange)
{
	const wchar_t *key_path = arg_key(exchange);
	bool dword = arg_is(exchange, "type", "dword");
	const void *data = text;
	/* cppcheck-suppress unreadVariable ; it is read through `data` */
	DWORD number = 0, bytes;
	HKEY key;

	arg_wide(exchange, "name", name, NAME_ROOM);
	if (!dword && !arg_is(exchange, "type", "string"))
		fail_protocol(exchange, "type");
	if (dword) {
		number = arg_u32(exchange, "value");
		data = &number;
		bytes = sizeof number;
	} else {
		arg_wide(exchange, "value", text, VALUE_ROOM);
		bytes = (DWORD)((size_t)lstrlenW(text) + 1) * sizeof *text;
	}
	if (failed(exchange) || !succeeded(exchange, RegCreateKeyExW(HKEY_LOCAL_MACHINE, key_path, 0, NULL, 0, KEY_SET_VALUE, NULL, &key, NULL),
					   "RegCreateKeyEx"))
		return;
	succeeded(exchange, RegSetValueExW(key, name, 0, dword ? REG_DWORD : REG_SZ, data, bytes), "RegSetValueEx");
	RegCloseKey(key);
}

void op_registry_get(struct exchange *exchange)
{
	const wchar_t *key_path = arg_key(exchange);
	DWORD type, number, bytes = sizeof text - sizeof *text;
	HKEY key;

	arg_wide(exchange, "name", name, NAME_ROOM);
	if (failed(exchange) || !succeeded(exchange, RegOpenKeyExW(HKEY_LOCAL_MACHINE, key_path, 0, KEY_QUERY_VALUE, &key), "RegOpenKeyEx"))
		return;
	if (succeeded(exchange, RegQueryValueExW(key, name, NULL, &type, (void *)text, &bytes), "RegQueryValueEx")) {
		text[bytes / sizeof *text] = 0; /* it may have been stored without its end */
		if (type == REG_DWORD && bytes == sizeof number) {
			CopyMemory(&number, text, sizeof number);
			json_put_string(&exchange->out, "type", "dword");
			json_put_u32(&exchange->out, "value", number);
		} else if (type == REG_SZ || type == REG_EXPAND_SZ) {
			json_put_string(&exchange->out, "type", "string");
			put_wide(exchange, "value", text);
		} else {
			fail(exchange, "win32", ERROR_UNSUPPORTED_TYPE, "RegQueryValueEx");
		}
	}
	RegCloseKey(key);
}

void op_registry_delete(struct exchange *exchange)
{
	const wchar_t *key_path = arg_key(exchange);

	if (key_path != NULL)
		succeeded(exchange, RegDeleteTreeW(HKEY_LOCAL_MACHINE, key_path), "RegDeleteTree");
}
