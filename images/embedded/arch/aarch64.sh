# What is particular to aarch64. The variables are explained in x86_64.sh.
debian_arch=arm64
triplet=aarch64-linux-gnu
# extract: packages are unpacked and not configured, so nothing of the guest has to run on a host of another architecture.
# What must run there (prefix.sh) runs in a virtual machine.
variant=extract
# Not trixie's kernel: its modules need tools to be built by that are newer than Debian 12.
kernel_suite=bookworm
kernel_series=6.1
# What starts it where UEFI does.
loader_package=systemd-boot-efi
kernel_options="halpmc_root=/dev/vda2 console=ttyAMA0 random.trust_bootloader=on"
modules="virtio_pci virtio_blk ext4 virtio_net virtio_rng evdev"
own_modules=yes
strip_dll="aarch64-linux-gnu-objcopy -I pei-aarch64-little -O pei-aarch64-little --strip-all --file-alignment=4096"
