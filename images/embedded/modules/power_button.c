// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The power button of QEMU's machine "virt", a line of its GPIO controller (device tree: gpio-keys). Debian's cloud kernel for
 * arm64 is built without a driver for it. Pressed, it runs what /proc/sys/kernel/poweroff_cmd says.
 */
#include <linux/gpio/consumer.h>
#include <linux/interrupt.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/reboot.h>

static irqreturn_t pressed(int irq, void *unused)
{
	orderly_poweroff(true);
	return IRQ_HANDLED;
}

static int found(struct platform_device *device)
{
	struct fwnode_handle *key = device_get_next_child_node(&device->dev, NULL);
	struct gpio_desc *line;
	int irq;

	if (!key)
		return -ENODEV;
	line = devm_fwnode_gpiod_get(&device->dev, key, NULL, GPIOD_IN, "power button");
	fwnode_handle_put(key);
	if (IS_ERR(line))
		return PTR_ERR(line);
	irq = gpiod_to_irq(line);
	if (irq < 0)
		return irq;
	return devm_request_irq(&device->dev, irq, pressed, IRQF_TRIGGER_RISING, "power button", NULL);
}

static const struct of_device_id ids[] = { { .compatible = "gpio-keys" }, {} };
static struct platform_driver power_button = { .driver = { .name = "power_button", .of_match_table = ids }, .probe = found };
module_platform_driver(power_button);

MODULE_DESCRIPTION("QEMU virt's power button");
MODULE_LICENSE("Dual MIT/GPL");
