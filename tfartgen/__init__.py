# SPDX-License-Identifier: Apache-2.0
"""Artificial labelled images from private ones.

A GAN whose critic alone sees the private images, through a differentially private optimizer.

    data            private data sets: embedded, TFDS by name, class folders, npz; splits
    ledger          what ran: stretches of critic steps, on file
    accounting      what ran -> epsilon; calibrates the noise. No TensorFlow
    sampling        Poisson and shuffled batches, as the accountant prices them
    networks        generator, critic and student: Keras models
    losses          per-example GAN losses and the gradient penalty
    dp_optimizer    per-example clip, noise, apply: the critic's optimizer
    gan             ArtGAN: compile, train_step, metrics
    train_config    settings of a run and good defaults
    run_folder      a run's private folder: settings, ledger and checkpoints in step
    callbacks       progress, checkpoints, signals
    tensorboard_log scalars, images, graph and settings of a run
    training        a run: resume, budget stop, export
    statement       privacy.json: what ran -> what can be said
    release         the generator's SavedModel
    serving         a generator behind TensorFlow Serving
    generating      artificial data sets: a draw from start to end
    verification    what a release must hold, and must not
    students        classifiers trained on artificial images, tested on real ones
    dp_students     the same on real records with DP-SGD
    pate            labels of public images by the noisy vote of teachers
    fidelity        how like real images artificial ones are
    evaluation      students of all kinds side by side, as one document
    sweep           the trade-off of privacy and accuracy
    partition       parts of a data set for several owners

Importing this package imports no TensorFlow; import the modules that you need.
"""

__version__ = "0.2.0.dev0"
