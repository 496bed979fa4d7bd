/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the system as far as it decides whether a test driver can load: asked of Windows itself, told in numbers. */
#include "client.h"

/* Classes of NtQuerySystemInformation (ntexapi.h of the phnt headers). */
#define SYSTEM_BOOT_ENVIRONMENT 90u
#define SYSTEM_CODE_INTEGRITY 103u
#define SYSTEM_SECURE_BOOT 145u
#define SYSTEM_ISOLATED_USER_MODE 165u

typedef LONG WINAPI query_system(ULONG class, void *data, ULONG bytes, ULONG *returned);

struct boot_environment {
	GUID id;
	ULONG firmware; /* FIRMWARE_TYPE: 0 unknown, 1 BIOS, 2 UEFI */
	ULONG spare;
	uint64_t flags;
};

/* tbs.h: TPM_DEVICE_INFO */
struct tpm_device {
	UINT32 layout, version; /* version 1 is TPM 1.2, 2 is TPM 2.0 */
	UINT32 interface, revision;
};

struct code_integrity {
	ULONG length, options;
};

struct secure_boot {
	BOOLEAN enabled, capable;
};

struct isolated_user_mode {
	uint16_t flags;
	uint8_t spare[6];
	uint64_t spare1;
};

/* slpublic.h: SL_LICENSING_STATUS */
struct licence {
	GUID sku;
	ULONG status;        /* 0 unlicensed, 1 licensed, 2 in its grace period, 3 notification */
	ULONG grace_minutes; /* what is left of a time-limited licence; 0: it has no end */
	ULONG grace_days;
	LONG reason;
	uint64_t expiration;
};
_Static_assert(sizeof(struct licence) == 40, "SL_LICENSING_STATUS");
_Static_assert(sizeof(struct isolated_user_mode) == 16, "SYSTEM_ISOLATED_USER_MODE_INFORMATION");

_Static_assert(sizeof(struct boot_environment) == 32, "SYSTEM_BOOT_ENVIRONMENT_INFORMATION");

static const GUID windows_application = { 0x55c92734, 0xd682, 0x4d71, { 0x98, 0x3e, 0xd6, 0xec, 0x3f, 0x16, 0x05, 0x9f } };

static void put_u32_or_null(struct json_writer *out, const char *name, bool known, uint32_t value)
{
	if (known)
		json_put_u32(out, name, value);
	else
		json_put_null(out, name);
}

static void put_security(struct json_writer *out, query_system *query)
{
	struct code_integrity integrity = { .length = sizeof integrity };
	struct secure_boot boot = { 0 };
	struct isolated_user_mode isolated = { 0 };
	struct boot_environment environment = { 0 };
	bool known = query != NULL && query(SYSTEM_BOOT_ENVIRONMENT, &environment, sizeof environment, NULL) == 0;

	put_u32_or_null(out, "firmware", known, environment.firmware);
	known = query != NULL && query(SYSTEM_CODE_INTEGRITY, &integrity, sizeof integrity, NULL) == 0;
	put_u32_or_null(out, "code_integrity", known, integrity.options);
	known = query != NULL && query(SYSTEM_SECURE_BOOT, &boot, sizeof boot, NULL) == 0;
	put_u32_or_null(out, "secure_boot", known, boot.enabled);
	known = query != NULL && query(SYSTEM_ISOLATED_USER_MODE, &isolated, sizeof isolated, NULL) == 0;
	put_u32_or_null(out, "isolated_user_mode", known, isolated.flags);
}

/* Whether the token that this process has is an administrator's: with UAC, one that may use it. */
static bool is_administrator(bool *administrator)
{
	uint8_t sid[SECURITY_MAX_SID_SIZE];
	DWORD bytes = sizeof sid;
	BOOL member = FALSE;

	if (!CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &bytes) || !CheckTokenMembership(NULL, sid, &member))
		return false;
	*administrator = member != FALSE;
	return true;
}

/* The licence in force of Windows itself, in `found`. The service that knows may not run, or the library not be there. */
static bool find_licence(struct licence *found)
{
	HMODULE library = LoadLibraryExW(L"slc.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
	HRESULT(WINAPI * open)(HANDLE *) = NULL;
	HRESULT(WINAPI * close)(HANDLE) = NULL;
	HRESULT(WINAPI * ask)(HANDLE, const GUID *, const GUID *, const wchar_t *, UINT *, struct licence **) = NULL;
	struct licence *licences = NULL;
	HANDLE service = NULL;
	UINT count = 0;
	bool there = false;

	if (library != NULL) {
		open = (void *)GetProcAddress(library, "SLOpen");
		close = (void *)GetProcAddress(library, "SLClose");
		ask = (void *)GetProcAddress(library, "SLGetLicensingStatusInformation");
	}
	if (open != NULL && close != NULL && ask != NULL && SUCCEEDED(open(&service))) {
		if (SUCCEEDED(ask(service, &windows_application, NULL, NULL, &count, &licences)) && licences != NULL) {
			for (UINT i = 0; i < count && !there; i++) {
				there = licences[i].status != 0;
				if (there)
					*found = licences[i];
			}
			LocalFree(licences);
		}
		close(service);
	}
	if (library != NULL)
		FreeLibrary(library);
	return there;
}

/* The version of the TPM that Windows has found: 0 none, 1 for 1.2, 2 for 2.0. False where nobody knows. */
static bool find_tpm(uint32_t *version)
{
	HMODULE library = LoadLibraryExW(L"tbs.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
	UINT32(WINAPI * ask)(UINT32, void *) = NULL;
	struct tpm_device device = { .layout = 1 };
	UINT32 status;

	if (library == NULL)
		return false;
	ask = (void *)GetProcAddress(library, "Tbsi_GetDeviceInfo");
	status = ask != NULL ? ask(sizeof device, &device) : ERROR_PROC_NOT_FOUND;
	FreeLibrary(library);
	*version = status == 0 ? device.version : 0;
	return status == 0 || status == (UINT32)TBS_E_TPM_NOT_FOUND;
}

void op_system_state(struct exchange *exchange)
{
	static wchar_t windows[PATH_ROOM];
	struct json_writer *out = &exchange->out;
	HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
	ULARGE_INTEGER available, total;
	struct licence licence = { 0 };
	/* A routine that Wine has only by name ends the process that calls it. */
	bool wine = GetProcAddress(ntdll, "wine_get_version") != NULL;
	bool known, administrator = false;
	DWORD edition = 0;
	uint32_t tpm = 0;
	FILETIME now;

	if (!GetSystemWindowsDirectoryW(windows, PATH_ROOM)) {
		fail_win32(exchange, "GetSystemWindowsDirectory");
		return;
	}
	if (!GetDiskFreeSpaceExW(windows, &available, &total, NULL)) {
		fail_win32(exchange, "GetDiskFreeSpaceEx");
		return;
	}
	known = is_administrator(&administrator);
	put_u32_or_null(out, "administrator", known, administrator);
	known = GetProductInfo(10, 0, 0, 0, &edition) != 0;
	put_u32_or_null(out, "edition", known, edition);
	put_security(out, (query_system *)(void *)GetProcAddress(ntdll, "NtQuerySystemInformation"));
	known = !wine && find_tpm(&tpm);
	put_u32_or_null(out, "tpm", known, tpm);
	GetSystemTimeAsFileTime(&now);
	json_put_hex(out, "time", (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime);
	json_put_hex(out, "disk_free", available.QuadPart);
	json_put_hex(out, "disk_total", total.QuadPart);
	known = !wine && find_licence(&licence);
	put_u32_or_null(out, "licence_status", known, licence.status);
	put_u32_or_null(out, "licence_minutes", known, licence.grace_minutes);
}
