# What is particular to x86-64. Sourced by the scripts of the recipe; these are the variables that an architecture sets.
debian_arch=amd64
triplet=x86_64-linux-gnu
# How mmdebstrap installs: essential, packages are configured, by programs of the guest that run on the host.
variant=essential
# The suite that the kernel comes from, and its series there.
kernel_suite=$suite
kernel_series=6.1
# The package of the boot loader, where the host has none for the guest's architecture.
loader_package=
# no_timer_check: an emulator on a busy host brings timer interrupts late, for which the kernel would panic ("IO-APIC + timer doesn't work").
kernel_options="halpmc_root=/dev/vda2 console=ttyS0 tsc=reliable no_timer_check"
modules="virtio_pci virtio_blk ext4 virtio_net virtio_rng pvpanic_pci pvpanic_mmio button evdev"
# Whether the modules of ours are needed (modules/).
own_modules=no
# GNU strip reduces the file alignment to 512, and Wine then copies each DLL instead of mapping it.
strip_dll="x86_64-w64-mingw32-objcopy --strip-all --file-alignment=4096"
