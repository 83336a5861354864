/* The table of commands, in the order in which help lists them. */
#include "commands.h"

/* clang-format off */
const struct cmd *const commands[] = {
	&cmd_run,
	&cmd_model_list,
	&cmd_model_show,
	&cmd_model_ping,
	&cmd_model_add,
	&cmd_model_set,
	&cmd_model_remove,
	&cmd_deployment_list,
	&cmd_deployment_show,
	&cmd_deployment_add,
	&cmd_deployment_set,
	&cmd_deployment_remove,
	&cmd_server_list,
	&cmd_server_show,
	&cmd_server_ping,
	&cmd_server_add,
	&cmd_server_set,
	&cmd_server_remove,
	&cmd_weights_list,
	&cmd_weights_add,
	&cmd_weights_use,
	&cmd_weights_remove,
	&cmd_train,
	&cmd_feedback,
	&cmd_feedback_set,
	&cmd_feedback_add,
	&cmd_feedback_export,
	&cmd_log,
	&cmd_log_show,
	&cmd_log_prune,
	&cmd_replay,
	&cmd_db_copy,
	&cmd_worker_check,
	&cmd_help,
	&cmd_version,
	&cmd_exit,
};
/* clang-format on */
const size_t n_commands = sizeof(commands) / sizeof(commands[0]);
