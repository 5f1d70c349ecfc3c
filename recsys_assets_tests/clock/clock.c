/* Moves the wall clock of a process and of its children by CLOCK_OFFSET_SECONDS seconds; the monotonic clock stays.
 *
 * Preloaded by run.py. libfaketime of Debian 12 cannot be used: with the monotonic clock faked, a thread's timed waits
 * hang, and without it time.sleep fails with EINVAL.
 *
 * A deadline on the wall clock is handed to the kernel, which knows the true time: so it is moved back. Deadlines on
 * the monotonic clock are told from those by their size (seconds since boot, not since 1970).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>

#define WALL_CLOCK_SECONDS 1000000000L

static long offset(void) {
  static long value;
  static int known;
  if (!known) {
    const char *given = getenv("CLOCK_OFFSET_SECONDS");
    value = given ? atol(given) : 0;
    known = 1;
  }
  return value;
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define REAL_VERSION(name, version) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlvsym(RTLD_NEXT, #name, version); \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_wall(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

static const struct timespec *moved_back(const struct timespec *deadline, struct timespec *moved) {
  if (!deadline || deadline->tv_sec < WALL_CLOCK_SECONDS) return deadline;
  *moved = *deadline;
  moved->tv_sec -= offset();
  return moved;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  REAL(clock_gettime);
  int status = real(clock, now);
  if (status == 0 && is_wall(clock)) now->tv_sec += offset();
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  REAL(gettimeofday);
  int status = real(now, zone);
  if (status == 0) now->tv_sec += offset();
  return status;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into) *into = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
  if (base != TIME_UTC || clock_gettime(CLOCK_REALTIME, now)) return 0;
  return base;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
  REAL_VERSION(pthread_cond_timedwait, "GLIBC_2.3.2");
  struct timespec moved;
  return real(condition, mutex, moved_back(deadline, &moved));
}

int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                           const struct timespec *restrict deadline) {
  REAL(pthread_cond_clockwait);
  struct timespec moved;
  return real(condition, mutex, clock, moved_back(deadline, &moved));
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict deadline) {
  REAL(pthread_mutex_timedlock);
  struct timespec moved;
  return real(mutex, moved_back(deadline, &moved));
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
  REAL(sem_timedwait);
  struct timespec moved;
  return real(semaphore, moved_back(deadline, &moved));
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict deadline) {
  REAL(sem_clockwait);
  struct timespec moved;
  return real(semaphore, clock, moved_back(deadline, &moved));
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
  REAL_VERSION(clock_nanosleep, "GLIBC_2.17");
  struct timespec moved;
  return real(clock, flags, flags & TIMER_ABSTIME ? moved_back(until, &moved) : until, left);
}

int timerfd_settime(int descriptor, int flags, const struct itimerspec *value, struct itimerspec *old) {
  REAL(timerfd_settime);
  struct itimerspec moved = *value;
  if (flags & TFD_TIMER_ABSTIME) moved.it_value = *moved_back(&value->it_value, &moved.it_value);
  return real(descriptor, flags, &moved, old);
}

/* Abseil (gRPC, Triton) waits on futexes by itself. */
long syscall(long number, ...) {
  REAL(syscall);
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  struct timespec moved;
  if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET)
    a[3] = (long)moved_back((const struct timespec *)a[3], &moved);
  if (number == SYS_clock_gettime) return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
