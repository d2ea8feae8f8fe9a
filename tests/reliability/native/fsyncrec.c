/* Notes what has reached the disk: preloaded into a server, it appends "DEVICE INODE SIZE" to the
 * file FSYNCREC_LOG each time that an fsync has ended. SIZE is that of before the call: what is
 * written meanwhile is not promised. FSYNCREC_DELAY_US makes the disk slower by so much, so that
 * kills fall between a write and its sync. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static void note(const struct stat *at, long long size) {
    const char *path = getenv("FSYNCREC_LOG");
    char line[96];
    int to = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (to < 0) return;
    int length = snprintf(line, sizeof line, "%llu %llu %lld\n", (unsigned long long)at->st_dev,
                          (unsigned long long)at->st_ino, size);
    if (write(to, line, length) != length) abort();
    close(to);
}

static int synced(int fd, const char *name) {
    struct stat at;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *delay = getenv("FSYNCREC_DELAY_US");
    int known = fstat(fd, &at) == 0 && S_ISREG(at.st_mode);
    if (delay) usleep(atoi(delay));
    int result = real(fd);
    if (result == 0 && known) note(&at, at.st_size);
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

static int cut(int fd, off_t length, const char *name) {
    struct stat at;
    int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, name);
    int result = real(fd, length);
    if (result == 0 && fstat(fd, &at) == 0 && S_ISREG(at.st_mode)) note(&at, length);
    return result;
}

int ftruncate(int fd, off_t length) { return cut(fd, length, "ftruncate"); }
int ftruncate64(int fd, off_t length) { return cut(fd, length, "ftruncate64"); }
