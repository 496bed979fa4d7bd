/* SPDX-License-Identifier: Apache-2.0 */
/* pmctest.sys: load, open, close, unload. The device is named after the service, so a second service is a second instance. */
#include "driver.h"

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path);

static NTSTATUS complete(PIRP irp, NTSTATUS status)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS NTAPI on_create(PDEVICE_OBJECT device, PIRP irp)
{
	PFILE_OBJECT object = IoGetCurrentIrpStackLocation(irp)->FileObject;
	struct instance *instance = device->DeviceExtension;
	struct file *file;

	if (object->FileName.Length != 0) /* there is nothing below the device */
		return complete(irp, STATUS_OBJECT_NAME_INVALID);
	file = pool_take(instance, sizeof *file);
	if (file == NULL)
		return complete(irp, STATUS_INSUFFICIENT_RESOURCES);
	file->number = (ULONG)InterlockedIncrement(&instance->files);
	object->FsContext = file;
	return complete(irp, STATUS_SUCCESS);
}

/* The last handle was closed; a request of another thread may still be under way. */
static NTSTATUS NTAPI on_cleanup(PDEVICE_OBJECT device, PIRP irp)
{
	struct file *file = IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext;

	if (file != NULL)
		holding_release(device->DeviceExtension, file);
	return complete(irp, STATUS_SUCCESS);
}

/* The last request is done. */
static NTSTATUS NTAPI on_close(PDEVICE_OBJECT device, PIRP irp)
{
	PFILE_OBJECT object = IoGetCurrentIrpStackLocation(irp)->FileObject;
	struct file *file = object->FsContext;

	if (file != NULL) {
		holding_release(device->DeviceExtension, file); /* Wine may close without a cleanup */
		object->FsContext = NULL;
		pool_return(device->DeviceExtension, file, sizeof *file);
	}
	return complete(irp, STATUS_SUCCESS);
}

static void NTAPI on_unload(PDRIVER_OBJECT driver)
{
	struct instance *instance = driver->DeviceObject->DeviceExtension;

	holding_release(instance, NULL);
	IoDeleteSymbolicLink(&instance->link);
	IoDeleteDevice(driver->DeviceObject);
}

/* The service's name: the last component of ...\Services\NAME, from a small alphabet, because it becomes a device name. */
static NTSTATUS service_name(PCUNICODE_STRING path, UNICODE_STRING *name)
{
	USHORT end = path->Length / sizeof(WCHAR), start = end;

	while (start > 0 && path->Buffer[start - 1] != L'\\') {
		WCHAR c = path->Buffer[--start];

		if (!((c >= L'A' && c <= L'Z') || (c >= L'a' && c <= L'z') || (c >= L'0' && c <= L'9') || c == L'_' || c == L'-'))
			return STATUS_OBJECT_NAME_INVALID;
	}
	if (start == end || end - start > (int)PMCTEST_NAME_CHARS)
		return STATUS_OBJECT_NAME_INVALID;
	name->Buffer = path->Buffer + start;
	name->Length = name->MaximumLength = (USHORT)((end - start) * sizeof(WCHAR));
	return STATUS_SUCCESS;
}

static void join(UNICODE_STRING *target, WCHAR *text, PCWSTR prefix, const UNICODE_STRING *name)
{
	USHORT length = 0;

	while (prefix[length] != 0) {
		text[length] = prefix[length];
		length++;
	}
	RtlCopyMemory(text + length, name->Buffer, name->Length);
	target->Buffer = text;
	target->Length = target->MaximumLength = (USHORT)(length * sizeof(WCHAR) + name->Length);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
	WCHAR device_text[PMCTEST_NAME_CHARS + 16];
	UNICODE_STRING name, device_name;
	struct instance *instance;
	PDEVICE_OBJECT device;
	NTSTATUS status;

	status = service_name(registry_path, &name);
	if (!NT_SUCCESS(status))
		return status;
	resolve_routines();

	join(&device_name, device_text, L"\\Device\\", &name);
	status = IoCreateDevice(driver, sizeof *instance, &device_name, PMCTEST_DEVICE_TYPE, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
	if (!NT_SUCCESS(status))
		return status;
	instance = device->DeviceExtension;
	RtlZeroMemory(instance, sizeof *instance);
	KeInitializeMutex(&instance->lock, 0);
	KeInitializeMutex(&instance->registers, 0);
	instance->destructive = setting_enabled(registry_path, L"AllowDestructive");
	InitializeListHead(&instance->held);

	status = secure_device(device, &instance->secured);
	if (NT_SUCCESS(status)) {
		join(&instance->link, instance->link_text, L"\\DosDevices\\", &name);
		status = IoCreateSymbolicLink(&instance->link, &device_name);
	}
	if (!NT_SUCCESS(status)) {
		IoDeleteDevice(device);
		return status;
	}
	driver->MajorFunction[IRP_MJ_CREATE] = on_create;
	driver->MajorFunction[IRP_MJ_CLEANUP] = on_cleanup;
	driver->MajorFunction[IRP_MJ_CLOSE] = on_close;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = dispatch_control;
	driver->DriverUnload = on_unload;
	return STATUS_SUCCESS;
}
