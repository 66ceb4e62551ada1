/* Reserving a name in a folder for one process, without leaving a trace on disk.
 *
 * Enters: an open folder and a name in it. Leaves: a descriptor; the reservation lasts until it is closed, also by a
 * kill. A lock file would outlive a kill, and a lock on the folder would keep apart runs that have nothing to do with
 * each other. So the reservation is a socket bound to an abstract name made of the folder's identity and the name. It
 * reaches as far as this machine's network namespace; the commit is safe without it, it only refuses a second run
 * early.
 */
#ifndef LQ_WRITE_RESERVE_H
#define LQ_WRITE_RESERVE_H

#include <stdbool.h>

/* False when another process, or this one, holds the same name. *out is -1 where the system offers no such sockets. */
bool lq_reserve(int *out, int folder, const char *name);

#endif
