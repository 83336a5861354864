/* The folder that a worker on another host has for itself there, and the limits that it is held to: what the
 * far supervisor is told of them, and the command line behind them. Pure. docs/ssh.md. */
#ifndef MEAL_FAR_ROOM_H
#define MEAL_FAR_ROOM_H

#include <mer/meal.h>

#define FAR_ROOM_END 33 /* room for 32 hexadecimal digits and a NUL */

struct far_room {
	char *text;             /* for a shell there; "": there is none */
	char **argv;            /* of the worker */
	char end[FAR_ROOM_END]; /* what is to follow the last byte of {input}; "": it has none */
	bool output;            /* stdout is what was written to {output} */
};

/**
 * @param spec  of a worker whose words have been told its folder (far_room_fill())
 * @return MER_EUNREACHABLE  a limit that cannot be held on other hosts
 */
MER_MUST enum mer_status far_room_init(struct far_room *room, const struct mer_worker_spec *spec,
                                       struct mer_error *err);
void far_room_release(struct far_room *room);

/** The digits of a folder's name, which nobody can guess. */
MER_MUST enum mer_status far_room_name(char name[FAR_ROOM_END], struct mer_error *err);

/** Puts that name where text has MER_FAR_FOLDER. */
void far_room_fill(char *text, const char *name);

#endif
