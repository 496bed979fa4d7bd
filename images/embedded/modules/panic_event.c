// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Tells QEMU's pvpanic device (PCI) that the kernel panics, written from QEMU's public description of the device: one byte of
 * events in BAR 0. Debian's arm64 kernels are built without a driver for it.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/pci.h>

#define VENDOR_REDHAT 0x1b36
#define DEVICE_PVPANIC 0x0011
#define PANICKED 0x01

static void __iomem *events;

static int on_panic(struct notifier_block *block, unsigned long event, void *message)
{
	iowrite8(PANICKED, events);
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = on_panic, .priority = INT_MAX };

static int found(struct pci_dev *device, const struct pci_device_id *id)
{
	int error = pcim_enable_device(device);

	if (error)
		return error;
	events = pcim_iomap(device, 0, 0);
	if (!events)
		return -ENOMEM;
	return atomic_notifier_chain_register(&panic_notifier_list, &notifier);
}

static void gone(struct pci_dev *device)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &notifier);
}

static const struct pci_device_id ids[] = { { PCI_DEVICE(VENDOR_REDHAT, DEVICE_PVPANIC) }, {} };
static struct pci_driver panic_event = { .name = "panic_event", .id_table = ids, .probe = found, .remove = gone };
module_pci_driver(panic_event);

MODULE_DESCRIPTION("QEMU pvpanic");
MODULE_LICENSE("Dual MIT/GPL");
