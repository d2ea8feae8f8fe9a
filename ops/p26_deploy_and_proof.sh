#!/bin/sh
# Deploys P2.6 (quantum-portfolio-gate) and proves it, as ops/deploy_and_proof.sh does any program.
#
# Usage: ops/p26_deploy_and_proof.sh [options]     exit codes and options: ops/deploy_and_proof.sh
set -eu
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
exec "$here/deploy_and_proof.sh" quantum-portfolio-gate --operation "P2.6 Deploy — Portfolio Gate" "$@"
