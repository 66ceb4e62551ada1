/* One file on its way to a name.
 *
 * Enters: an open folder and a label, the name that the file will carry in the end. Leaves: a descriptor to write to,
 * then the name. Until then the file has no name at all where the file system allows that (O_TMPFILE: a kill leaves
 * nothing behind), else a hidden one, ".LABEL.lq-" and six hexadecimal digits.
 * Invariants: a staged file is locked with flock as long as it is open, so that a hidden name whose file can be
 * locked belongs to a run that is no more; the permissions are those of any new file (0666 less the umask).
 *
 *     struct lq_stage stage = LQ_STAGE_NONE;
 *     if (!lq_stage_open(&stage, folder, "model.gguf")) perror("model.gguf");
 *     lq_stage_name(&stage, folder, "model.gguf");
 *     lq_stage_discard(&stage);   // closes; removes the file if it still has no name of its own
 *
 * Functions return false with errno set; messages are made by the caller, who knows the path that the user gave.
 */
#ifndef LQ_WRITE_STAGE_H
#define LQ_WRITE_STAGE_H

#include <limits.h>
#include <stdbool.h>

#define LQ_HIDDEN_MARK ".lq-"
enum { LQ_HIDDEN_DIGITS = 6, LQ_HIDDEN_EXTRA = 11 }; /* EXTRA: bytes by which a hidden name is longer than its label */

struct lq_stage {
    int fd;                  /* -1: nothing staged */
    int folder;              /* borrowed: where the hidden name stands */
    char name[NAME_MAX + 1]; /* the hidden name; "" when the file has none */
};

#define LQ_STAGE_NONE ((struct lq_stage){.fd = -1, .folder = -1})

/* The label is at most NAME_MAX - LQ_HIDDEN_EXTRA bytes long, here and below. */
bool lq_stage_open(struct lq_stage *out, int folder, const char *label);
/* Gives the file a hidden name in `folder` unless it has one there already. */
bool lq_stage_hide(struct lq_stage *stage, int folder, const char *label);
/* Gives the file its name in `folder`; fails with EEXIST, atomically, when the name is taken. */
bool lq_stage_name(struct lq_stage *stage, int folder, const char *name);
/* The same, but replaces what is there. */
bool lq_stage_replace(struct lq_stage *stage, int folder, const char *name);
void lq_stage_discard(struct lq_stage *stage);

/* Renames within one file system; fails with EEXIST when `to` is taken. */
bool lq_rename_new(int from_folder, const char *from, int to_folder, const char *to);

/* A random hidden name for `label`, and whether `name` is one that could have been made for `label`. */
bool lq_hidden_name(char name[NAME_MAX + 1], const char *label);
bool lq_is_hidden_name(const char *name, const char *label);

/* False when the open file or folder is locked by a living run, or cannot be locked at all. */
bool lq_lock_open_file(int fd);
/* fsync for a folder; file systems that cannot sync folders count as synced. */
bool lq_sync_folder(int folder);

#endif
