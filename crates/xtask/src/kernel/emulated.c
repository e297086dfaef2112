// SPDX-License-Identifier: GPL-2.0
/*
 * isopod.emulated_khz=N: this is an emulated processor of QEMU, whose time stamp counter counts N
 * thousand times a second. Neither it nor the timer of its APIC is measured then, which takes 0.13 s.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <asm/apic.h>
#include <asm/x86_init.h>

static unsigned long emulated_khz;

static unsigned long known(void)
{
	return emulated_khz;
}

static int __init emulated(char *text)
{
	int error = kstrtoul(text, 10, &emulated_khz);

	if (error)
		return error;
	x86_platform.calibrate_cpu = known;
	x86_platform.calibrate_tsc = known;
	/* It counts nanoseconds. */
	lapic_timer_period = 1000000000 / HZ;
	return 0;
}
early_param("isopod.emulated_khz", emulated);
