/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A protected DACL for the device: administrators and SYSTEM only. IoCreateDeviceSecure lives in a library of the WDK that
 * mingw-w64 lacks, so the descriptor is set through a kernel handle.
 */
#include "driver.h"

/* SECURITY_DESCRIPTOR_CONTROL bits, which ntddk.h of mingw-w64 leaves out */
#define SE_DACL_PRESENT 0x0004
#define SE_DACL_PROTECTED 0x1000
#define SE_SELF_RELATIVE 0x8000

#define STATUS_WINE_STUB ((NTSTATUS)0x80000100) /* what a routine raises that Wine exports without an implementation */

/* A self-relative descriptor D:P(A;;FA;;;SY)(A;;FA;;;BA), written out. */
static const struct {
	UCHAR revision, sbz;
	USHORT control;
	ULONG owner, group, sacl, dacl;
	struct {
		UCHAR revision, sbz1;
		USHORT size, aces, sbz2;
		struct {
			UCHAR type, flags;
			USHORT size;
			ULONG mask;
			UCHAR sid_revision, authorities, authority[6];
			ULONG sub[1];
		} system;
		struct {
			UCHAR type, flags;
			USHORT size;
			ULONG mask;
			UCHAR sid_revision, authorities, authority[6];
			ULONG sub[2];
		} administrators;
	} acl;
} descriptor = {
	.revision = SECURITY_DESCRIPTOR_REVISION,
	.control = SE_SELF_RELATIVE | SE_DACL_PRESENT | SE_DACL_PROTECTED,
	.dacl = FIELD_OFFSET(__typeof__(descriptor), acl),
	.acl = {
		.revision = ACL_REVISION,
		.size = sizeof descriptor.acl,
		.aces = 2,
		.system = { 0, 0, sizeof descriptor.acl.system, FILE_ALL_ACCESS, 1, 1, { 0, 0, 0, 0, 0, 5 }, { 18 } },
		.administrators = { 0, 0, sizeof descriptor.acl.administrators, FILE_ALL_ACCESS, 1, 2, { 0, 0, 0, 0, 0, 5 }, { 32, 544 } },
	},
};

_Static_assert(sizeof descriptor == 20 + 8 + 20 + 24, "no padding in a security descriptor");

static __attribute__((noinline)) NTSTATUS set_dacl(PDEVICE_OBJECT device)
{
	HANDLE handle = NULL;
	NTSTATUS status;

	status = routines.open_object(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
	if (!NT_SUCCESS(status))
		return status;
	status = routines.set_security(handle, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
				       (PSECURITY_DESCRIPTOR)&descriptor);
	ZwClose(handle);
	return status;
}

static LONG only_stubs(ULONG code)
{
	return (NTSTATUS)code == STATUS_WINE_STUB ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

/*
 * Windows has both routines, and there a failure is a failure of the load. Wine lacks them or has stubs: the device then keeps
 * its default protection, and *secured says so.
 */
NTSTATUS secure_device(PDEVICE_OBJECT device, BOOLEAN *secured)
{
	NTSTATUS status = STATUS_SUCCESS;

	*secured = FALSE;
	if (routines.open_object == NULL || routines.set_security == NULL)
		return STATUS_SUCCESS;
	__try {
		status = set_dacl(device);
		*secured = NT_SUCCESS(status);
	} __except (only_stubs((ULONG)_exception_code())) {
		status = STATUS_SUCCESS;
	}
	return status;
}
