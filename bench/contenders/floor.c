/*
 * The floor: what the kernel alone asks for a stream's event. One thread, epoll, one frame built
 * per run and change, one send() per socket; nothing is parsed beyond the run's number, nothing
 * is timed per stream. A socket that is full misses the change; of a frame that went out in part
 * the rest is kept and sent first, for half a chunk would break the stream.
 *
 * floor EVERY_US STATE_BYTES RUNS HEAD BEFORE_RUN BEFORE_AT TAIL CLOSING
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

struct run { int *fds; int count, room; };
struct client { int run, place; char *rest; size_t left; };

static struct run *runs;
static struct client *clients; /* by descriptor; run < 0: no request yet */
static int poller, run_count;
static long long every_us, shown_at; /* the change that was sent last */
static size_t state_bytes;
static const char *head, *before_run, *before_at, *tail, *closing;
static char *frame, *json;

static long long current_at(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (t.tv_sec * 1000000LL + t.tv_nsec / 1000) / every_us * every_us;
}

/* The event with its chunk's frame around it; returns its length. */
static size_t build(char *to, int run, long long at) {
  char event[64];
  int start = sprintf(json, "%sbench-%d%s%lld", before_run, run, before_at, at);
  size_t room = state_bytes - start - strlen(closing);
  memcpy(json + start, tail, room);
  strcpy(json + start + room, closing);
  int named = sprintf(event, "event: progress\nid: %016lld\ndata: ", at);
  return sprintf(to, "%zx\r\n%s%s\n\n\r\n", named + state_bytes + 2, event, json);
}

static void drop(int fd) {
  struct client *c = &clients[fd];
  if (c->run >= 0) {
    struct run *r = &runs[c->run];
    int last = r->fds[--r->count];
    r->fds[c->place] = last;
    clients[last].place = c->place;
  }
  free(c->rest);
  c->rest = NULL;
  close(fd);
}

static void await_events(int fd, uint32_t events) {
  struct epoll_event e = { .events = events, .data.fd = fd };
  epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e);
}

static void put(int fd, const char *bytes, size_t size) {
  struct client *c = &clients[fd];
  if (c->rest) return;
  ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
  if (sent <= 0 || (size_t)sent == size) return; /* who is gone is dropped by its own event */
  c->left = size - sent;
  c->rest = malloc(c->left);
  memcpy(c->rest, bytes + sent, c->left);
  await_events(fd, EPOLLIN | EPOLLOUT);
}

static void put_rest(int fd) {
  struct client *c = &clients[fd];
  ssize_t sent = send(fd, c->rest, c->left, MSG_NOSIGNAL);
  if (sent <= 0) return;
  c->left -= sent;
  memmove(c->rest, c->rest + sent, c->left);
  if (c->left > 0) return;
  free(c->rest);
  c->rest = NULL;
  await_events(fd, EPOLLIN);
}

/* A request comes in one piece here, or not at all. */
static void take(int fd) {
  char request[8192];
  ssize_t size = recv(fd, request, sizeof request - 1, 0);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) { drop(fd); return; }
  struct client *c = &clients[fd];
  if (c->run >= 0) return;
  request[size] = 0;
  char *name = strstr(request, "/bench-");
  int run = name ? atoi(name + 7) : -1;
  if (run < 0 || run >= run_count || !strstr(request, "\r\n\r\n")) { drop(fd); return; }
  struct run *r = &runs[run];
  if (r->count == r->room) r->fds = realloc(r->fds, (r->room = r->room * 2 + 1) * sizeof(int));
  c->run = run;
  c->place = r->count;
  r->fds[r->count++] = fd;
  size_t length = strlen(head);
  memcpy(frame, head, length);
  put(fd, frame, length + build(frame + length, run, shown_at));
}

static void accept_all(int listener, int limit) {
  int fd, on = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    if (fd >= limit) { close(fd); continue; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    clients[fd] = (struct client){ .run = -1 };
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
  }
}

static void change(void) {
  shown_at = current_at();
  for (int run = 0; run < run_count; run++) {
    struct run *r = &runs[run];
    if (r->count == 0) continue;
    size_t size = build(frame, run, shown_at);
    for (int i = 0; i < r->count; i++) put(r->fds[i], frame, size);
  }
}

static int open_listener(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  socklen_t size = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 16384)) exit(1);
  getsockname(fd, (struct sockaddr *)&address, &size);
  printf("listening on %d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static int open_timer(void) {
  long long first = current_at() + every_us;
  struct itimerspec when = {
    { every_us / 1000000, every_us % 1000000 * 1000 }, { first / 1000000, first % 1000000 * 1000 },
  };
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 9) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with who started it */
  every_us = atoll(argv[1]); state_bytes = atoll(argv[2]); run_count = atoi(argv[3]);
  head = argv[4]; before_run = argv[5]; before_at = argv[6]; tail = argv[7]; closing = argv[8];
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max > 1000000 ? 1000000 : limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  shown_at = current_at();
  clients = calloc(limit.rlim_cur, sizeof *clients);
  runs = calloc(run_count, sizeof *runs);
  json = malloc(state_bytes + 1);
  frame = malloc(strlen(head) + state_bytes + 256);
  poller = epoll_create1(0);
  int listener = open_listener(), timer = open_timer();
  struct epoll_event own[2] = {
    { .events = EPOLLIN, .data.fd = listener }, { .events = EPOLLIN, .data.fd = timer },
  };
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &own[0]);
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &own[1]);
  for (;;) {
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      uint64_t times;
      if (fd == listener) accept_all(listener, (int)limit.rlim_cur);
      else if (fd == timer) { if (read(timer, &times, sizeof times) > 0) change(); }
      else {
        if ((events[i].events & EPOLLOUT) && clients[fd].rest) put_rest(fd);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(fd);
      }
    }
  }
}
