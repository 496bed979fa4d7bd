/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about the guest's system, and files' hashes. */
#include "client.h"
#include "sha256.h"

#include <psapi.h>

#if defined(__x86_64__)
#include <cpuid.h>
#define ARCH "x86_64"
#elif defined(__aarch64__)
#define ARCH "aarch64"
#endif

const char *const client_arch = ARCH;

#if defined(__x86_64__)
/* The highest leaf of the range that `leaf` is in; a processor without a hypervisor has none of a hypervisor's. */
static uint32_t highest_leaf(uint32_t leaf)
{
	uint32_t eax, ebx, ecx, edx;

	if ((leaf & 0xC0000000) != 0x40000000)
		return __get_cpuid_max(leaf & 0x80000000, NULL);
	__cpuid(1, eax, ebx, ecx, edx);
	if ((ecx & (1u << 31)) == 0)
		return 0;
	__cpuid(0x40000000, eax, ebx, ecx, edx);
	return eax < 0x40000000 ? 0x40000000 : eax; /* KVM's own answers 0 here, and means this leaf */
}
#endif

static void put_cpuid(struct json_writer *out)
{
	json_open(out, "cpuid", '[');
#if defined(__x86_64__)
	/* 0x4000000x are the hypervisor's: what it is, and, where it speaks Hyper-V's interface, which parts of that. */
	static const uint32_t leaves[] = { 0, 1, 0xA, 0x23, 0x40000000, 0x40000003, 0x40000004, 0x80000001, 0x80000022 };

	for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
		uint32_t eax, ebx, ecx, edx;

		if (highest_leaf(leaves[i]) < leaves[i])
			continue;
		__cpuid_count(leaves[i], 0, eax, ebx, ecx, edx);
		json_open(out, NULL, '{');
		json_put_u32(out, "leaf", leaves[i]);
		json_put_u32(out, "subleaf", 0);
		json_put_u32(out, "eax", eax);
		json_put_u32(out, "ebx", ebx);
		json_put_u32(out, "ecx", ecx);
		json_put_u32(out, "edx", edx);
		json_close(out, '}');
	}
#endif
	json_close(out, ']');
}

/* The CPUs of each processor group. */
static void put_groups(struct json_writer *out)
{
	WORD groups = GetActiveProcessorGroupCount();

	json_put_u32(out, "groups", groups);
	json_open(out, "group_cpus", '[');
	for (WORD group = 0; group < groups; group++)
		json_put_u32(out, NULL, GetActiveProcessorCount(group));
	json_close(out, ']');
}

void op_facts(struct exchange *exchange)
{
	struct json_writer *out = &exchange->out;
	HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
	/* GetVersionEx would answer what the executable's manifest deserves; this answers what runs. */
	LONG(WINAPI * get_version)(OSVERSIONINFOW *) = (void *)GetProcAddress(ntdll, "RtlGetVersion");
	const char *(CDECL * wine_version)(void) = (void *)GetProcAddress(ntdll, "wine_get_version");
	OSVERSIONINFOW version = { .dwOSVersionInfoSize = sizeof version };

	if (get_version == NULL || get_version(&version) != 0) {
		fail_win32(exchange, "RtlGetVersion");
		return;
	}
	json_put_string(out, "arch", client_arch);
	json_put_u32(out, "os_major", version.dwMajorVersion);
	json_put_u32(out, "os_minor", version.dwMinorVersion);
	json_put_u32(out, "os_build", version.dwBuildNumber);
	if (wine_version != NULL)
		json_put_string(out, "wine", wine_version());
	else
		json_put_null(out, "wine");
	json_put_u32(out, "cpus", GetActiveProcessorCount(ALL_PROCESSOR_GROUPS));
	put_groups(out);
	json_put_hex(out, "boot_ms", GetTickCount64());
	put_cpuid(out);
}

/* FALSE with GetLastError() when reading fails. */
static bool hash_file(HANDLE file, struct sha256 *hash)
{
	static uint8_t block[65536];
	DWORD length;

	sha256_start(hash);
	do {
		if (!ReadFile(file, block, sizeof block, &length, NULL))
			return false;
		sha256_add(hash, block, length);
	} while (length != 0);
	return true;
}

void op_file_hash(struct exchange *exchange)
{
	static wchar_t path[PATH_ROOM];
	char text[65] = { 0 };
	struct sha256 hash;
	uint8_t digest[32];
	HANDLE file;

	arg_wide(exchange, "path", path, PATH_ROOM);
	if (failed(exchange))
		return;
	file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, NULL);
	if (file == INVALID_HANDLE_VALUE) {
		fail_win32(exchange, "CreateFile");
		return;
	}
	if (hash_file(file, &hash)) {
		uint64_t size = hash.bytes;

		sha256_finish(&hash, digest);
		for (int i = 0; i < 64; i++)
			text[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 0xF];
		json_put_string(&exchange->out, "sha256", text);
		json_put_hex(&exchange->out, "size", size);
	} else {
		fail_win32(exchange, "ReadFile");
	}
	CloseHandle(file);
}

void op_exit(struct exchange *exchange)
{
	exchange->client->ended = true;
}

/* A guest that goes on from a saved state has the time of that state. */
void op_clock_set(struct exchange *exchange)
{
	uint64_t time = arg_hex(exchange, "time"); /* as a FILETIME: 100 ns since 1601, UTC */
	FILETIME file_time = { .dwLowDateTime = (DWORD)time, .dwHighDateTime = (DWORD)(time >> 32) };
	SYSTEMTIME system_time;

	if (failed(exchange))
		return;
	if (!FileTimeToSystemTime(&file_time, &system_time))
		fail_win32(exchange, "FileTimeToSystemTime");
	else if (!SetSystemTime(&system_time))
		fail_win32(exchange, "SetSystemTime");
}

void op_memory(struct exchange *exchange)
{
	/* Under this name since Windows 7; older systems have it elsewhere. */
	BOOL(WINAPI * query)(PERFORMANCE_INFORMATION *, DWORD) = (void *)GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "K32GetPerformanceInfo");
	PERFORMANCE_INFORMATION info = { .cb = sizeof info };

	if (query == NULL || !query(&info, sizeof info))
		fail_win32(exchange, "GetPerformanceInfo");
	else if (info.KernelNonpaged == 0) /* no kernel does without */
		json_put_null(&exchange->out, "nonpaged");
	else
		json_put_hex(&exchange->out, "nonpaged", (uint64_t)info.KernelNonpaged * info.PageSize);
}
